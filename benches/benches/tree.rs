//! The library alone: opening an image, walking, reading, listing; beside the `vfs` crate's memory filesystem.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput};
use mountless::backend::mem::MemFs;
use mountless::fs::{Cookie, DirBatch};
use mountless::namespace::{Follow, Namespace, OpenHow};
use mountless::open::{OpenOptions, open_source};
use mountless::source::BytesSource;
use mountless_benches::{FILES, MANY, image, image_namespace, large_image, noise, populate};
use vfs::{MemoryFS, VfsPath};

type Trees<'a> = [(&'static str, &'a Namespace)];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default().configure_from_args();
    let on_image = image_namespace(image()?)?;
    let on_memory = Namespace::new(Arc::new(MemFs::new()));
    populate(&on_memory)?;
    let theirs = VfsPath::new(MemoryFS::new());
    populate_vfs(&theirs)?;
    let ours = VfsPath::new(on_memory.clone());
    let trees = [("image", &on_image), ("memory", &on_memory)];

    open(&mut criterion)?;
    walk(&mut criterion, &trees, &ours, &theirs)?;
    read(&mut criterion, &trees, &ours, &theirs)?;
    list(&mut criterion, &trees, &ours, &theirs)?;
    criterion.final_summary();
    Ok(())
}

fn populate_vfs(root: &VfsPath) -> vfs::VfsResult<()> {
    use std::io::Write;

    root.join("dir")?.create_dir()?;
    for (name, len) in FILES {
        root.join(name)?.create_file()?.write_all(&noise(len))?;
    }
    root.join("many")?.create_dir()?;
    (0..MANY).try_for_each(|number| root.join(format!("many/file-{number:04}.txt"))?.create_file().map(drop))
}

fn open(criterion: &mut Criterion) -> mountless::Result<()> {
    let source = Arc::new(BytesSource::new(large_image(20_000, 10 << 10)?.into()));
    let mut group = criterion.benchmark_group("open an image of 20,000 files, 200 MB");
    group.sample_size(20).throughput(Throughput::Elements(20_000));
    group.bench_function("cpio", |bench| {
        bench.iter(|| match open_source(source.clone(), None, &OpenOptions::default()) {
            Ok(image) => black_box(image.fs.root()),
            Err(error) => panic!("a sound image opens: {error}"),
        });
    });
    group.finish();
    Ok(())
}

fn walk(criterion: &mut Criterion, trees: &Trees<'_>, ours: &VfsPath, theirs: &VfsPath) -> vfs::VfsResult<()> {
    let mut group = criterion.benchmark_group("walk to dir/data and ask its attributes");
    for (name, namespace) in trees {
        group.bench_function(*name, |bench| {
            bench.iter(|| {
                let attr = namespace.locate("dir/data", Follow::Yes).and_then(|at| at.attr());
                assert!(black_box(attr).is_ok());
            });
        });
    }
    for (name, root) in [("memory through vfs", ours), ("vfs MemoryFS", theirs)] {
        let path = root.join("dir/data")?;
        group.bench_function(name, |bench| bench.iter(|| assert!(black_box(path.metadata()).is_ok())));
    }
    group.finish();
    Ok(())
}

fn read(criterion: &mut Criterion, trees: &Trees<'_>, ours: &VfsPath, theirs: &VfsPath) -> vfs::VfsResult<()> {
    use std::io::{Read, Seek, SeekFrom};

    let middle = 8 << 20;
    let mut group = criterion.benchmark_group("read 4 KiB of an open file");
    group.throughput(Throughput::Bytes(4096));
    let mut buf = [0; 4096];
    for (name, namespace) in trees {
        let file = namespace.open("dir/data", &OpenHow::READ).map_err(std::io::Error::from)?;
        group.bench_function(*name, |bench| {
            bench.iter(|| assert!(file.read_at(middle, black_box(&mut buf)).is_ok_and(|count| count == 4096)));
        });
    }
    for (name, root) in [("memory through vfs", ours), ("vfs MemoryFS", theirs)] {
        let mut file = root.join("dir/data")?.open_file()?;
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let read = file.seek(SeekFrom::Start(middle)).and_then(|_| file.read(black_box(&mut buf)));
                assert!(read.is_ok_and(|count| count == 4096));
            });
        });
    }
    group.finish();
    Ok(())
}

fn list(criterion: &mut Criterion, trees: &Trees<'_>, ours: &VfsPath, theirs: &VfsPath) -> vfs::VfsResult<()> {
    let mut group = criterion.benchmark_group("list a directory of 1,000");
    group.throughput(Throughput::Elements(1000));
    for (name, namespace) in trees {
        let dir = namespace.open("many", &OpenHow::READ).map_err(std::io::Error::from)?;
        let mut batch = DirBatch::with_max_entries(MANY);
        group.bench_function(*name, |bench| {
            bench.iter(|| {
                batch.clear();
                assert!(dir.read_dir(Cookie::START, &mut batch).is_ok() && batch.len() == MANY);
            });
        });
    }
    for (name, root) in [("memory through vfs", ours), ("vfs MemoryFS", theirs)] {
        let path = root.join("many")?;
        group.bench_function(name, |bench| {
            bench.iter(|| assert_eq!(path.read_dir().map_or(0, Iterator::count), MANY));
        });
    }
    group.finish();
    Ok(())
}
