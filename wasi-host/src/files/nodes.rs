//! What the handles of descriptors stand for.
//!
//! The store's own table would do, but it boxes what is in it and keeps account of parents and children, of which a
//! descriptor has none: opening a file would take half as long again.

use wasmtime::component::ResourceTableError;

use super::Node;

/// Numbers to nodes. A number is free again when its node is closed: the engine sees to it that a guest has no handle then.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    slots: Vec<Option<Node>>,
    free: Vec<u32>,
}

impl Nodes {
    pub(super) const fn open_count(&self) -> usize {
        // OK: every free number is below `slots.len()`, and there once.
        self.slots.len().saturating_sub(self.free.len())
    }

    /// # Errors
    /// If there are as many as there are numbers.
    #[inline]
    pub(super) fn insert(&mut self, node: Node) -> Result<u32, ResourceTableError> {
        if let Some(number) = self.free.pop() {
            *self.slot(number)? = Some(node);
            return Ok(number);
        }
        let number = u32::try_from(self.slots.len()).map_err(|_| ResourceTableError::Full)?;
        self.slots.push(Some(node));
        Ok(number)
    }

    /// # Errors
    /// If the number stands for nothing.
    #[inline]
    pub(super) fn get(&self, number: u32) -> Result<&Node, ResourceTableError> {
        let slot = usize::try_from(number).ok().and_then(|index| self.slots.get(index));
        slot.and_then(Option::as_ref).ok_or(ResourceTableError::NotPresent)
    }

    /// Drops the node where it is.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub(super) fn close(&mut self, number: u32) -> Result<(), ResourceTableError> {
        let slot = self.slot(number)?;
        if slot.is_none() {
            return Err(ResourceTableError::NotPresent);
        }
        *slot = None;
        self.free.push(number);
        Ok(())
    }

    #[inline]
    fn slot(&mut self, number: u32) -> Result<&mut Option<Node>, ResourceTableError> {
        let slot = usize::try_from(number).ok().and_then(|index| self.slots.get_mut(index));
        slot.ok_or(ResourceTableError::NotPresent)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mountless::backend::mem::MemFs;
    use mountless::namespace::{Descriptor, Follow, Namespace};

    use super::super::Flags;
    use super::*;

    #[test]
    fn numbers_are_used_again_and_stand_for_nothing_in_between() {
        let namespace = Namespace::new(Arc::new(MemFs::new()));
        let root = || Descriptor::open_dir(namespace.locate("/", Follow::Yes).unwrap()).unwrap();
        let mut nodes = Nodes::default();
        for number in 0..3 {
            assert_eq!(nodes.insert(Node::new(root(), Flags::default())).unwrap(), number);
        }
        nodes.close(1).unwrap();
        assert!(matches!(nodes.get(1), Err(ResourceTableError::NotPresent)));
        assert!(matches!(nodes.close(1), Err(ResourceTableError::NotPresent)));
        assert!(matches!(nodes.close(7), Err(ResourceTableError::NotPresent)));
        assert_eq!(nodes.open_count(), 2);
        assert_eq!(nodes.insert(Node::new(root(), Flags::default())).unwrap(), 1);
        assert!(nodes.get(1).is_ok());
    }
}
