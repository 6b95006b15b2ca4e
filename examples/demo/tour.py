"""What CPython sees when an image is all it has: its library, room to write, and nothing of the host."""

import hashlib
import json
import os
import sys
import time

start = time.perf_counter()
print("Python", sys.version.split()[0], "with its library at", sys.prefix)
print("/ holds", *sorted(os.listdir("/")))

files = sorted(os.path.join(top, name) for top, _, names in os.walk(sys.prefix) for name in names)
digest = hashlib.sha256()
size = 0
for path in files:
    with open(path, "rb") as file:
        content = file.read()
    digest.update(content)
    size += len(content)
print(f"read {len(files)} files, {size:,} bytes, sha256 {digest.hexdigest()[:16]}...")

os.makedirs("/tmp/report")
with open("/tmp/report/files.json", "w") as file:
    json.dump(files, file)
os.rename("/tmp/report", "/report")
with open("/report/files.json") as file:
    print("wrote and moved a report of", len(json.load(file)), "paths")

with open(os.__file__, "a") as file:
    file.write("# changed by the tour\n")
print("changed", os.__file__, "in this run only")
print(f"{time.perf_counter() - start:.2f} s")
