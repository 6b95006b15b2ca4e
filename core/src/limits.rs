//! Every limit of the library, in one place.
//!
//! Images are untrusted: whatever a length field says, nothing grows past these without the caller asking for it.

/// Longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;

/// Longest path given to a walk, in bytes, as Linux's `PATH_MAX` without the NUL.
pub const PATH_MAX: usize = 4095;

/// Longest target of a symbolic link, in bytes.
pub const SYMLINK_MAX: usize = 4095;

/// Symbolic links followed in one walk.
pub const SYMLINK_HOPS_MAX: u32 = 40;

/// Longest file that memory and log filesystems store, in bytes: what a signed 64-bit offset can address.
pub const FILE_SIZE_MAX: u64 = i64::MAX as u64;

/// Longest slice returned by one `read_shared`, in bytes, so that a file-backed source never
/// allocates by a length field.
pub const READ_SHARED_MAX: usize = 16 << 20;

/// Entries of one image, counting overridden ones.
pub const IMAGE_ENTRIES_MAX: u32 = 50_000_000;

/// Steps of path walking granted per byte of an archive while its entries are replayed. Ordinary archives need less
/// than one; only archives made to be slow, of long symbolic links through one another, come near.
pub const REPLAY_STEPS_PER_BYTE: u64 = 16;

/// Heads of entries collected ahead of the replay in one run; further ones are read when the replay comes to them.
pub const HEADS_PER_LANE_MAX: usize = 4096;

/// Bytes searched for the start of such a run.
pub const HEAD_SEARCH_MAX: usize = 32 << 10;

/// Longest memo about a file, in bytes: the heads of about a million entries.
pub const MEMO_LEN_MAX: usize = 16 << 20;

/// Memos about files that are kept at a time.
pub const MEMOS_MAX: usize = 64;

/// Segments of an archive whose heads are collected ahead of the replay.
pub const SEGMENTS_AHEAD_MAX: u64 = 8;

/// Threads that open one archive.
pub const SCOUTS_MAX: usize = 4;

/// Threads that compress one stream.
pub const COMPRESSING_THREADS_MAX: usize = 16;

/// Parts of one archive that are compressed on their own.
pub const ARCHIVE_PARTS_MAX: usize = 65_536;

/// Entries left out of a tree that are remembered with their reasons; further ones are only counted.
pub const SKIPPED_KEPT_MAX: usize = 1000;

/// Entries of a TFS log's dictionary: what it takes to know 50 million files.
pub const TFS_DICTIONARY_MAX: u32 = 400_000_000;

/// Values in attributes that TFS images carry along for others, counted once for each place they are seen in.
pub const TFS_ATTRIBUTE_VALUES_MAX: u32 = 1_000_000;

/// Paths that directories with several names may give; such directories exist in damaged TFS images only.
pub const TFS_SHARED_PATHS_MAX: u64 = 10_000_000;

/// Tuples and vectors inside one another in a manifest of TFS: a thousand directories.
pub const TFS_MANIFEST_DEPTH_MAX: usize = 2048;

/// Default limit on the decompressed size of an image, in bytes.
pub const UNPACKED_MAX: u64 = 4 << 30;

/// Default limit on the bytes of an image that are kept in memory when decompressed, in all its parts and layers; what
/// is longer goes to temporary files.
pub const UNPACKED_IN_MEMORY_MAX: u64 = 512 << 20;

/// Bytes of one decompressed part that are kept in memory always: a file for less would not pay.
pub const UNPACKED_IN_MEMORY_MIN: u64 = 1 << 20;

/// Memory that undoing a compression may take besides what comes out, in bytes: dictionaries and windows.
pub const DECODER_MEMORY_MAX: u64 = 256 << 20;

/// Bytes of the pax records, or of the long name, of one entry of a tar archive.
pub const TAR_RECORDS_MAX: u64 = 1 << 20;

/// Bytes of one JSON document of a container image.
pub const OCI_JSON_MAX: u64 = 8 << 20;

/// Bytes of the map of one sparse file in a tar archive.
pub const SPARSE_MAP_MAX: u64 = 64 << 20;

/// Compressions around compressions that detection follows.
pub const NESTED_COMPRESSIONS_MAX: u32 = 4;

/// Layers of one stack, the upper included.
pub const LAYERS_MAX: usize = 128;

/// Mounts of one namespace, the root included.
pub const MOUNTS_MAX: usize = 1024;

/// Bytes of one extended attribute's value.
pub const XATTR_VALUE_MAX: usize = 64 << 10;

/// Bytes of all extended attributes of one node, names and values.
pub const XATTRS_TOTAL_MAX: usize = 256 << 10;

/// Bytes gathered before a thread that writes is told.
pub const GATHERED_LEN: usize = 512 << 10;

/// Bytes written to a file at once. Linux takes them into pages that belong together, and finds such as others gave
/// back before most easily.
pub const WRITE_LEN: usize = 64 << 10;

/// Bytes read at once when a tree is packed that is not in memory.
pub const PACK_READ_LEN: usize = 256 << 10;

/// Names and runs of content read at once, then.
pub const PACK_READ_NAMES_MAX: usize = 256;

/// Pieces of one sparse file, when a tree is packed: with more, its holes are written as zeros.
pub const SPARSE_PIECES_MAX: usize = 100_000;

/// Bytes of a file whose content is compared line by line.
pub const DIFF_TEXT_MAX: u64 = 32 << 20;

/// Lines from the first that differs to the last, on both sides, that are compared with each other; with more, all of
/// them count as different. Texts made to be slow take time that grows with the square.
pub const DIFF_LINES_MAX: usize = 100_000;

/// Bytes of holes in one file that are written as zeros without a word.
pub const HOLES_TOLD_MIN: u64 = 64 << 20;
