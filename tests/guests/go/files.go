// Works on files in all the ways that Go's os package has, and says what it sees: nothing of it depends on times, inode
// numbers or the order in which a directory is listed.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Failures by what they mean, and as the system words them.
func shown(err error) string {
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, fs.ErrNotExist):
		return "ErrNotExist: " + err.Error()
	case errors.Is(err, fs.ErrExist):
		return "ErrExist: " + err.Error()
	case errors.Is(err, fs.ErrPermission):
		return "ErrPermission: " + err.Error()
	}
	return err.Error()
}

func say(what string, err error) {
	fmt.Printf("%s: %s\n", what, shown(err))
}

func must(what string, err error) {
	if err != nil {
		fmt.Printf("%s FAILED: %v\n", what, err)
		os.Exit(1)
	}
}

func stat(path string) {
	info, err := os.Lstat(path)
	if err != nil {
		say("lstat", err)
		return
	}
	size := info.Size()
	if info.IsDir() {
		size = 0
	}
	fmt.Printf("lstat %s: %s %s %d\n", path, info.Name(), info.Mode().Type(), size)
}

func trees(top string) {
	must("mkdirall", os.MkdirAll(filepath.Join(top, "a/b/c"), 0o755))
	say("mkdir again", os.Mkdir(filepath.Join(top, "a"), 0o755))
	say("mkdir in nothing", os.Mkdir(filepath.Join(top, "none/d"), 0o755))
	for i := range 40 {
		name := filepath.Join(top, "a/b", "file"+strconv.Itoa(i))
		must("write", os.WriteFile(name, []byte(strings.Repeat("x", i*100)), 0o644))
	}
	say("rmdir full", os.Remove(filepath.Join(top, "a/b")))
	found, err := filepath.Glob(filepath.Join(top, "a/*/file3*"))
	must("glob", err)
	fmt.Println(found)
	total := 0
	must("walk", filepath.WalkDir(top, func(path string, entry fs.DirEntry, err error) error {
		must("walk", err)
		info, err := entry.Info()
		must("info", err)
		if !entry.IsDir() {
			total += int(info.Size())
		}
		return nil
	}))
	fmt.Println("bytes", total)
	must("removeall", os.RemoveAll(filepath.Join(top, "a/b")))
	stat(filepath.Join(top, "a/b"))
	must("copyfs", os.CopyFS(filepath.Join(top, "copy"), os.DirFS("/share")))
	content, err := fs.ReadFile(os.DirFS(top), "copy/doc")
	fmt.Printf("%q %v\n", content, err)
}

func links(top string) {
	at := func(name string) string { return filepath.Join(top, name) }
	must("write", os.WriteFile(at("target"), []byte("target\n"), 0o644))
	must("symlink", os.Symlink("target", at("link")))
	must("symlink", os.Symlink("nowhere", at("dangling")))
	must("symlink", os.Symlink("loop", at("loop")))
	must("link", os.Link(at("target"), at("hard")))
	for _, name := range []string{"target", "link", "dangling", "loop", "hard"} {
		stat(at(name))
		content, err := os.ReadFile(at(name))
		fmt.Printf("%q %s\n", content, shown(err))
	}
	points, err := os.Readlink(at("link"))
	fmt.Println(points, err)
	_, err = os.Readlink(at("target"))
	say("readlink of a file", err)
	say("symlink again", os.Symlink("target", at("link")))
	say("link of nothing", os.Link(at("none"), at("hard2")))
	one, _ := os.Stat(at("target"))
	other, _ := os.Stat(at("hard"))
	fmt.Println("same", os.SameFile(one, other))
	real, err := filepath.EvalSymlinks(at("link"))
	fmt.Println(real, err)
	say("beyond a file", os.WriteFile(at("target/x"), nil, 0o644))
	say("rename of nothing", os.Rename(at("none"), at("some")))
	must("rename", os.Rename(at("link"), at("moved")))
	say("rename over a directory", os.Rename(at("target"), at("copy")))
	must("rename over a file", os.Rename(at("dangling"), at("hard")))
	stat(at("hard"))
}

func content(top string) {
	name := filepath.Join(top, "content")
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	must("create", err)
	_, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	say("create again", err)
	lines := bufio.NewWriter(file)
	for i := range 5000 {
		fmt.Fprintf(lines, "line %d\n", i)
	}
	must("flush", lines.Flush())
	_, err = file.WriteAt([]byte("HOLE"), 1<<20)
	must("writeat", err)
	end, err := file.Seek(0, io.SeekEnd)
	fmt.Println("end", end, err)
	buffer := make([]byte, 8)
	n, err := file.ReadAt(buffer, 1<<20-4)
	fmt.Printf("%d %q %v\n", n, buffer, err)
	_, err = file.Seek(-1, io.SeekStart)
	say("seek before", err)
	must("truncate", file.Truncate(30))
	must("truncate", file.Truncate(40))
	must("sync", file.Sync())
	_, err = file.Seek(0, io.SeekStart)
	must("seek", err)
	all, err := io.ReadAll(file)
	fmt.Printf("%q %v\n", all, err)
	must("remove while open", os.Remove(name))
	_, err = file.WriteAt([]byte("still here"), 0)
	must("write to what is removed", err)
	n, err = file.ReadAt(buffer, 0)
	fmt.Printf("%d %q %v\n", n, buffer, err)
	must("close", file.Close())
	say("close again", file.Close())
	stat(name)

	appending, err := os.OpenFile(filepath.Join(top, "log"), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	must("open", err)
	for i := range 3 {
		_, err = fmt.Fprintf(appending, "%d\n", i)
		must("append", err)
	}
	_, err = appending.Read(buffer)
	say("read what is for writing", err)
	must("close", appending.Close())
	log, err := os.ReadFile(filepath.Join(top, "log"))
	fmt.Printf("%q %v\n", log, err)

	_, err = os.ReadFile(top)
	say("read a directory", err)
	_, err = os.OpenFile(top, os.O_RDWR, 0)
	say("write a directory", err)
	then := time.Unix(1_000_000_000, 5000)
	must("chtimes", os.Chtimes(filepath.Join(top, "log"), then, then))
	info, err := os.Stat(filepath.Join(top, "log"))
	must("stat", err)
	fmt.Println(info.ModTime().UTC(), info.ModTime().Nanosecond())
}

func listing(top string) {
	dir := filepath.Join(top, "many")
	must("mkdir", os.Mkdir(dir, 0o755))
	for i := range 1000 {
		must("create", os.WriteFile(filepath.Join(dir, strings.Repeat("n", i%50)+strconv.Itoa(i)), nil, 0o644))
	}
	open, err := os.Open(dir)
	must("open", err)
	var names []string
	for {
		some, err := open.Readdirnames(7)
		names = append(names, some...)
		if err == io.EOF {
			break
		}
		must("readdirnames", err)
	}
	must("close", open.Close())
	slices.Sort(names)
	fmt.Println("names", len(names), len(slices.Compact(names)))
	entries, err := os.ReadDir(dir)
	must("readdir", err)
	fmt.Println(len(entries), entries[0].Name(), entries[999].Name())
	must("removeall", os.RemoveAll(dir))
	stat(dir)
}

func main() {
	top := os.Args[1]
	fmt.Println(len(os.Args), os.Getenv("SEEN"))
	motd, err := os.ReadFile("/etc/motd")
	fmt.Printf("%q %v\n", motd, err)
	must("mkdir", os.Mkdir(top, 0o755))
	must("chdir", os.Chdir(top))
	here, err := os.Getwd()
	fmt.Println(here, err)
	must("write", os.WriteFile("relative", []byte("seen from here\n"), 0o644))
	trees(top)
	links(top)
	content(top)
	listing(top)
	temporary, err := os.MkdirTemp("/tmp", "go*")
	must("mkdirtemp", err)
	must("remove", os.Remove(temporary))
	_, err = os.ReadFile("/../etc/motd")
	say("above the root", err)
	fmt.Fprintln(os.Stderr, "done")
	os.Exit(5)
}
