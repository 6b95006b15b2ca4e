//! Replays entries of tar archives: alone, as GNU tar unpacks them into an empty directory, or as one layer of an image.
//!
//! Two rules differ. Where a directory with content is in the way of something else, tar leaves it; in a layer the
//! later entry wins. And links that lead out of the tree are not followed by tar, while in a layer the root is the end
//! of every path. In both, parents that are missing are made, and stay without attributes of their own.

use alloc::vec::Vec;

use super::SkipReason;
use super::build::{Meta, Outcome, TreeBuilder, set_mode, set_mtime, set_owner};
use super::index::{Content, NodeIndex};
use super::walk::{Place, Stop};
use crate::attr::FileType;
use crate::limits::PATH_MAX;

/// How entries are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum TarRules {
    /// As tar does.
    Tar,
    /// As changes to lower layers.
    Layer,
}

impl TreeBuilder {
    /// Makes the node of an entry, replacing what is there.
    pub(super) fn put(
        &mut self,
        rules: TarRules,
        path: &[u8],
        content: Content,
        meta: &Meta,
    ) -> Result<NodeIndex, Stop> {
        let is_dir = content.file_type() == FileType::Dir;
        let node = match self.place_in_tar(rules, path)? {
            Place::Dir(node) if is_dir => node,
            Place::Dir(_) => return Err(Stop::Skip(SkipReason::DirectoryInTheWay)),
            Place::Named { found: Some((_, node)), .. } if is_dir && self.index.dir(node).is_some() => node,
            Place::Named { dir, name, found, .. } => {
                let hidden = match found {
                    Some((_, node)) => self.is_whiteout(node),
                    None => false,
                };
                if let Some(found) = found {
                    self.make_way(rules, found)?;
                }
                let node = self.create(dir, path.get(name).unwrap_or_default(), content)?;
                // What lower layers have in its place was hidden, and still is.
                if hidden && is_dir {
                    self.extras.set_opaque(node);
                }
                node
            }
        };
        if let Some(node) = self.index.node_mut(node) {
            set_owner(node, meta);
            set_mode(node, meta);
            set_mtime(node, meta.mtime);
        }
        if is_dir {
            self.walker.remember_dir(&self.index, path, node);
        }
        Ok(node)
    }

    /// Makes `path` a further name of what `target` names.
    pub(super) fn put_link(&mut self, rules: TarRules, path: &[u8], target: &[u8]) -> Outcome {
        let node = self.link_target(rules, target)?;
        let Place::Named { dir, name, found, .. } = self.place_in_tar(rules, path)? else {
            return Err(Stop::Skip(SkipReason::DirectoryInTheWay));
        };
        if let Some(found) = found {
            if found.1 == node {
                return Ok(());
            }
            self.make_way(rules, found)?;
        }
        // Making way may have taken the target along.
        if self.index.node(node).is_none_or(|node| node.names == 0) {
            return Err(Stop::Skip(SkipReason::LinkTargetGone));
        }
        self.index.add_entry(dir, path.get(name).unwrap_or_default(), node)?;
        Ok(())
    }

    /// The node that a hard link asks for.
    fn link_target(&mut self, rules: TarRules, target: &[u8]) -> Result<NodeIndex, Stop> {
        check_path(rules, target).map_err(|_| Stop::Skip(SkipReason::LinkTargetGone))?;
        // Slashes at the front of a name mean nothing, but walks begin at the root anyway.
        let node = match self.walker.resolve(&self.index, &self.sources, target, false) {
            Err(Stop::Skip(_)) => return Err(Stop::Skip(SkipReason::LinkTargetGone)),
            found => found?,
        };
        match self.index.node(node).map(|node| node.content.file_type()) {
            Some(FileType::Dir) => Err(Stop::Skip(SkipReason::LinkToDirectory)),
            Some(FileType::Whiteout) | None => Err(Stop::Skip(SkipReason::LinkTargetGone)),
            Some(_) => Ok(node),
        }
    }

    /// Whether this tree has, or hides, what `path` leads to: then lower layers have no say.
    pub(super) fn decides(&mut self, path: &[u8]) -> bool {
        self.walker.resolve(&self.index, &self.sources, path, false).is_ok()
    }

    /// Hides `name` of lower layers in the directory `dir`; what this layer has there stays.
    pub(super) fn whiteout(&mut self, path: &[u8]) -> Outcome {
        let place = match self.place_in_tar(TarRules::Layer, path) {
            // Below something that is a file in this layer there is nothing to hide.
            Err(Stop::Skip(SkipReason::NotADirectory)) => return Ok(()),
            place => place?,
        };
        match place {
            Place::Dir(_) => Err(Stop::Skip(SkipReason::WhiteoutOfNothing)),
            Place::Named { found: Some((_, node)), .. } => {
                if self.index.dir(node).is_some() {
                    self.extras.set_opaque(node);
                }
                Ok(())
            }
            Place::Named { dir, name, found: None, .. } => {
                self.create(dir, path.get(name).unwrap_or_default(), Content::Whiteout)?;
                Ok(())
            }
        }
    }

    /// Hides everything that lower layers have in the directory `path`.
    pub(super) fn opaque(&mut self, path: &[u8]) -> Outcome {
        // The directory itself is made by looking for a name in it.
        let inside = [path, b"/x"].concat();
        let dir = match self.place_in_tar(TarRules::Layer, &inside) {
            Err(Stop::Skip(SkipReason::NotADirectory)) => return Ok(()),
            place => match place? {
                Place::Dir(dir) | Place::Named { dir, .. } => dir,
            },
        };
        self.extras.set_opaque(dir);
        Ok(())
    }

    fn is_whiteout(&self, node: NodeIndex) -> bool {
        self.index.node(node).is_some_and(|node| node.content == Content::Whiteout)
    }

    /// Where `path` leads, parents made.
    fn place_in_tar(&mut self, rules: TarRules, path: &[u8]) -> Result<Place, Stop> {
        check_path(rules, path)?;
        match self.walker.place(&self.index, &self.sources, path) {
            Err(Stop::Skip(SkipReason::NoParent | SkipReason::NotADirectory)) => {
                self.make_parents(path)?;
                self.walker.place(&self.index, &self.sources, path)
            }
            place => place,
        }
    }

    fn make_parents(&mut self, path: &[u8]) -> Outcome {
        for (end, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let prefix = path.get(..end).unwrap_or_default();
            if prefix.is_empty() || prefix.ends_with(b"/") {
                continue;
            }
            match self.walker.place(&self.index, &self.sources, prefix)? {
                Place::Named { dir, name, found: None, .. } => {
                    self.create(dir, prefix.get(name).unwrap_or_default(), Content::EMPTY_DIR)?;
                }
                Place::Named { dir, name, found: Some((entry, node)), .. } if self.is_whiteout(node) => {
                    self.index.remove_entry(entry);
                    let made = self.create(dir, prefix.get(name).unwrap_or_default(), Content::EMPTY_DIR)?;
                    self.extras.set_opaque(made);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes what is in the way of something that is not to be merged with it.
    fn make_way(&mut self, rules: TarRules, (entry, node): (super::index::EntryIndex, NodeIndex)) -> Outcome {
        if self.index.dir(node).is_some_and(|dir| dir.count > 0) {
            match rules {
                TarRules::Tar => return Err(Stop::Skip(SkipReason::DirectoryInTheWay)),
                TarRules::Layer => self.remove_below(node),
            }
        }
        self.index.remove_entry(entry);
        Ok(())
    }

    fn remove_below(&mut self, dir: NodeIndex) {
        let mut pending: Vec<NodeIndex> = Vec::from([dir]);
        while let Some(dir) = pending.pop() {
            let mut next = self.index.dir(dir).and_then(|dir| self.index.first(dir));
            while let Some(entry) = next {
                next = self.index.next(entry);
                // Entries removed before still stand in the chain; those that are there are found by name.
                let Some((name, node, _)) = self.index.get(entry) else { continue };
                if self.index.lookup(dir, name).is_some_and(|(found, _)| found == entry) {
                    if self.index.dir(node).is_some() {
                        pending.push(node);
                    }
                    self.index.remove_entry(entry);
                }
            }
        }
    }
}

fn check_path(rules: TarRules, path: &[u8]) -> Outcome {
    if path.len() > PATH_MAX {
        let size = u32::try_from(path.len()).unwrap_or(u32::MAX).saturating_add(1);
        return Err(Stop::Skip(SkipReason::NameSize { size }));
    }
    if rules == TarRules::Tar && path.split(|byte| *byte == b'/').any(|name| name == b"..") {
        return Err(Stop::Skip(SkipReason::Upwards));
    }
    Ok(())
}
