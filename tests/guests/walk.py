"""Uses a tree as a large program does: walks it, imports from it, writes to it and reads back.

Usage: walk.py LIBRARY CODE. Prints a summary without times or listing orders, exits with CODE.
"""

import hashlib
import importlib
import os
import sys

MODULES = """argparse ast base64 bisect calendar codecs collections configparser contextlib copy csv dataclasses datetime
decimal difflib dis email.message enum fnmatch fractions functools glob gzip hashlib heapq html.parser http.client inspect
io ipaddress json linecache logging mimetypes numbers operator optparse pathlib pickle platform plistlib pprint queue
random re reprlib shelve shlex shutil stat statistics string struct tarfile tempfile textwrap timeit tokenize tomllib
traceback typing unittest urllib.parse uuid weakref xml.etree.ElementTree zipfile zoneinfo""".split()


def from_elsewhere(library):
    """Modules that were loaded from files outside of `library`."""
    files = ((name, getattr(module, "__file__", None)) for name, module in sorted(sys.modules.items()))
    return [(name, file) for name, file in files if file and name != "__main__" and not file.startswith(library + "/")]


def walk(library):
    """Counts of directories, files and bytes, and one hash over all of it."""
    dirs = files = size = 0
    digest = hashlib.sha256()
    for here, subdirs, names in os.walk(library):
        subdirs.sort()
        dirs += 1
        for name in sorted(names):
            path = os.path.join(here, name)
            with open(path, "rb") as file:
                content = file.read()
            assert os.stat(path).st_size == len(content), path
            digest.update(path.encode() + b"\0" + content)
            files += 1
            size += len(content)
    return dirs, files, size, digest.hexdigest()[:16]


def write_and_read_back(top):
    os.makedirs(f"{top}/a/b/c")
    for number in range(100):
        with open(f"{top}/a/b/c/{number:03}.txt", "w") as file:
            file.write(f"file {number}\n" * number)
    total = sum(os.path.getsize(entry) for entry in os.scandir(f"{top}/a/b/c"))
    os.rename(f"{top}/a/b", f"{top}/moved")
    with open(f"{top}/moved/c/099.txt", "r+") as file:
        assert file.readline() == "file 99\n"
        file.truncate(5)
    with open(f"{top}/moved/c/099.txt") as file:
        cut = file.read()
    import shutil

    shutil.copytree(f"{top}/moved", f"{top}/copy", copy_function=shutil.copyfile)
    copied = sorted(os.listdir(f"{top}/copy/c"))
    shutil.rmtree(f"{top}/moved")
    return total, cut, len(copied), sorted(os.listdir(top))


def change_the_library(library):
    """A file of the image is appended to, replaced and removed; imports see it."""
    with open(f"{library}/marker_in_image.py", "a") as file:
        file.write("APPENDED = True\n")
    import marker_in_image

    os.remove(f"{library}/marker_in_image.py")
    with open(f"{library}/written_by_guest.py", "w") as file:
        file.write("VALUE = 42\n")
    importlib.invalidate_caches()
    import written_by_guest

    return marker_in_image.VALUE, marker_in_image.APPENDED, written_by_guest.VALUE, "marker_in_image.py" in os.listdir(library)


def main(library, code):
    print("prefix", sys.prefix)
    print("walked", *walk(library))
    for name in MODULES:
        importlib.import_module(name)
    print("imported", len(MODULES), "elsewhere", from_elsewhere(library))
    os.makedirs("/tmp", exist_ok=True)
    for top in ["/tmp/work", "/new", f"{library}/new"]:
        print("wrote", top, *write_and_read_back(top))
    print("changed", *change_the_library(library))
    print("environment", os.environ.get("GREETING"), "arguments", len(sys.argv))
    return code


sys.exit(main(sys.argv[1], int(sys.argv[2])))
