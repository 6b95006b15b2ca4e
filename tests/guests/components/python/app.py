"""Calls wasi:filesystem itself, streams included, then works on files as Python programs do.

What it prints depends on no times, numbers of files or orders of listings.
"""

import os
import shutil
import tempfile

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import preopens, streams, types
from wit_world.imports.types import DescriptorFlags as Flags
from wit_world.imports.types import OpenFlags as Open
from wit_world.imports.types import PathFlags as Path

NOTHING, FOLLOW = Path(0), Path.SYMLINK_FOLLOW
READ, WRITE = Flags.READ, Flags.WRITE


def say(what, call):
    try:
        result = call()
    except Err as error:
        value = error.value
        if isinstance(value, streams.StreamError_LastOperationFailed):
            value = types.filesystem_error_code(value.value)
        result = "error " + (value.name if isinstance(value, types.ErrorCode) else type(value).__name__)
    if isinstance(result, types.DescriptorStat):
        size = 0 if result.type == types.DescriptorType.DIRECTORY else result.size
        result = f"{result.type.name} {size}"
    elif isinstance(result, types.DescriptorType):
        result = result.name
    elif isinstance(result, types.Descriptor):
        result.__exit__(None, None, None)
        result = "a handle"
    print(f"{what}: {result}")


def written(root, name, *parts):
    with root.open_at(FOLLOW, name, Open.CREATE | Open.TRUNCATE, WRITE) as file:
        with file.write_via_stream(0) as stream:
            for part in parts:
                stream.blocking_write_and_flush(part)


def read(root, name, offset=0, piece=1000):
    pieces = []
    with root.open_at(FOLLOW, name, Open(0), READ) as file:
        with file.read_via_stream(offset) as stream:
            while True:
                try:
                    pieces.append(stream.blocking_read(piece))
                except Err as error:
                    assert isinstance(error.value, streams.StreamError_Closed)
                    return b"".join(pieces)


def names(root, path):
    with root.open_at(FOLLOW, path, Open.DIRECTORY, READ) as directory:
        with directory.read_directory() as entries:
            found = []
            while (entry := entries.read_directory_entry()) is not None:
                found.append(f"{entry.name} {entry.type.name}")
    return sorted(found)


def by_streams(root):
    written(root, "one", b"first ", b"second")
    say("one", lambda: read(root, "one"))
    say("one from 6", lambda: read(root, "one", 6))
    say("one from behind", lambda: read(root, "one", 100))
    with root.open_at(FOLLOW, "one", Open(0), WRITE) as file:
        with file.write_via_stream(3) as stream:
            print("may write", stream.check_write() > 0)
            stream.write(b"!!!")
            stream.flush()
            with stream.subscribe() as ready:
                ready.block()
            stream.blocking_write_zeroes_and_flush(4)
            stream.blocking_flush()
        with file.append_via_stream() as stream:
            stream.blocking_write_and_flush(b" the end")
            stream.blocking_write_and_flush(b".")
    say("one", lambda: read(root, "one"))
    large = bytes(index * 7 % 251 for index in range(300_000))
    written(root, "large", *(large[at : at + 4096] for at in range(0, len(large), 4096)))
    print("large", read(root, "large", piece=70_000) == large)
    with root.open_at(FOLLOW, "large", Open(0), READ) as source, root.open_at(
        FOLLOW, "copy", Open.CREATE, WRITE
    ) as target:
        with source.read_via_stream(0) as reader, target.write_via_stream(0) as writer:
            print("skipped", reader.blocking_skip(1000))
            total = 0
            while True:
                try:
                    total += writer.blocking_splice(reader, 4096)
                except Err as error:
                    print("spliced", total, type(error.value).__name__)
                    break
            writer.blocking_flush()
    print("copy", read(root, "copy") == large[1000:])
    # A stream outlives the name and the descriptor that it came from.
    file = root.open_at(FOLLOW, "copy", Open(0), READ)
    stream = file.read_via_stream(10)
    file.__exit__(None, None, None)
    root.unlink_file_at("copy")
    print("of what is gone", stream.blocking_read(5) == large[1010:1015])
    stream.__exit__(None, None, None)
    # Some hosts refuse the stream, some its first use.
    with root.open_at(FOLLOW, "one", Open(0), READ) as file:
        say("stream to what is read", lambda: file.write_via_stream(0).blocking_write_and_flush(b"x"))
        say("append to what is read", lambda: file.append_via_stream().blocking_write_and_flush(b"x"))
    with root.open_at(FOLLOW, "one", Open(0), WRITE) as file:
        say("stream of what is written", lambda: file.read_via_stream(0).blocking_read(1))
    with root.open_at(FOLLOW, ".", Open.DIRECTORY, READ) as directory:
        say("stream of a directory", lambda: directory.read_via_stream(0))


def by_calls(root):
    root.create_directory_at("dir")
    say("dir again", lambda: root.create_directory_at("dir"))
    say("dir in nothing", lambda: root.create_directory_at("none/dir"))
    with root.open_at(FOLLOW, "dir/file", Open.CREATE | Open.EXCLUSIVE, READ | WRITE) as file:
        print("wrote", file.write(b"0123456789", 0), file.write(b"abc", 20))
        say("read", lambda: file.read(100, 5))
        say("read at the end", lambda: file.read(10, 23))
        file.set_size(8)
        say("read", lambda: file.read(100, 5))
        say("stat", file.stat)
        say("type", file.get_type)
        say("flags", lambda: file.get_flags() & (READ | WRITE) == READ | WRITE)
        with root.open_at(FOLLOW, "dir/../dir/file", Open(0), READ) as other:
            print("same", file.is_same_object(other), file.metadata_hash() == other.metadata_hash())
        print("same", root.metadata_hash_at(NOTHING, "dir") == file.metadata_hash())
        file.sync()
        file.sync_data()
        file.advise(0, 10, types.Advice.SEQUENTIAL)
        file.set_times(
            types.NewTimestamp_Timestamp(types.wall_clock.Datetime(1_000_000_000, 5)), types.NewTimestamp_NoChange()
        )
        accessed = file.stat().data_access_timestamp
        print("accessed", accessed.seconds, accessed.nanoseconds)
    say("exclusive", lambda: root.open_at(FOLLOW, "dir/file", Open.CREATE | Open.EXCLUSIVE, WRITE))
    say("directory for a file", lambda: root.open_at(FOLLOW, "dir/file", Open.DIRECTORY, READ))
    say("write a directory", lambda: root.open_at(FOLLOW, "dir", Open(0), WRITE))
    say("nothing", lambda: root.open_at(FOLLOW, "nothing", Open(0), READ))
    say("beyond a file", lambda: root.open_at(FOLLOW, "one/x", Open(0), READ))
    root.symlink_at("file", "dir/link")
    say("points to", lambda: root.readlink_at("dir/link"))
    say("a file points to", lambda: root.readlink_at("dir/file"))
    say("link", lambda: root.stat_at(NOTHING, "dir/link"))
    say("through link", lambda: root.stat_at(FOLLOW, "dir/link"))
    say("link opened", lambda: root.open_at(NOTHING, "dir/link", Open(0), READ))
    root.link_at(NOTHING, "dir/file", root, "hard")
    print("names", root.stat_at(NOTHING, "hard").link_count)
    print("listed", names(root, "dir"), names(root, "."))
    say("remove full", lambda: root.remove_directory_at("dir"))
    say("unlink dir", lambda: root.unlink_file_at("dir"))
    root.rename_at("dir", root, "moved")
    say("rename over full", lambda: root.rename_at("etc", root, "moved"))
    say("rename into itself", lambda: root.rename_at("moved", root, "moved/below"))
    say("rename file over directory", lambda: root.rename_at("one", root, "moved"))
    for name in ["..", "a/../../b", "/etc/motd", "moved/../../etc"]:
        say(name, lambda: root.stat_at(FOLLOW, name))
    root.symlink_at("../..", "moved/up")
    say("up", lambda: root.open_at(FOLLOW, "moved/up", Open(0), READ))
    say("absolute", lambda: root.stat_at(FOLLOW, ""))
    for name in ["moved/link", "moved/up", "moved/file", "hard"]:
        root.unlink_file_at(name)
    root.remove_directory_at("moved")


def as_programs_do():
    print(open("/etc/motd").read().strip())
    os.makedirs("/work/a/b")
    for index in range(300):
        with open(f"/work/a/file{index}", "w") as file:
            file.write("x" * index)
    print(sum(entry.stat().st_size for entry in os.scandir("/work/a") if entry.is_file()))
    shutil.copytree("/work/a", "/work/copy")
    print(len(os.listdir("/work/copy")), sorted(os.listdir("/work/copy"))[:3])
    shutil.rmtree("/work/a")
    with tempfile.TemporaryDirectory(dir="/work") as temporary, open(temporary + "/x", "w+b") as file:
        file.write(b"abc")
        file.seek(1000)
        file.write(b"def")
        file.truncate(1002)
        file.seek(0)
        print(len(file.read()))
    for path in ["/none", "/etc", "/etc/motd/x"]:
        try:
            open(path)
        except OSError as error:
            print(path, type(error).__name__)
    print(sorted(os.listdir("/work")))


class Run(exports.Run):
    def run(self):
        ((root, name),) = preopens.get_directories()
        print(name)
        by_streams(root)
        by_calls(root)
        as_programs_do()
