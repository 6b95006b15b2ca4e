// Calls wasi:filesystem, streams included. What it prints depends on no times, numbers of files or orders of listings.
import { getDirectories } from 'wasi:filesystem/preopens@0.2.12';
import { filesystemErrorCode } from 'wasi:filesystem/types@0.2.12';

const encode = (text) => new TextEncoder().encode(text);
const decode = (bytes) => new TextDecoder().decode(bytes);
const FOLLOW = { symlinkFollow: true };

function shown(value) {
  if (typeof value === 'object' && 'byteLength' in value) return JSON.stringify(decode(Uint8Array.from(value)));
  if (Array.isArray(value)) return value.map(shown).join(' ');
  if (typeof value === 'object' && value !== null) {
    return value.type === 'directory' ? 'directory' : `${value.type} ${value.size}`;
  }
  return String(value);
}

function say(what, call) {
  let result;
  try {
    result = shown(call());
  } catch (error) {
    const payload = error.payload ?? error;
    if (payload.tag === 'last-operation-failed') result = `error ${filesystemErrorCode(payload.val)}`;
    else result = `error ${payload.tag ?? payload}`;
  }
  console.log(`${what}: ${result}`);
}

function readAll(stream, piece) {
  const pieces = [];
  try {
    for (;;) pieces.push(...stream.blockingRead(piece));
  } catch (error) {
    if ((error.payload ?? error).tag !== 'closed') throw error;
  }
  return new Uint8Array(pieces);
}

function listed(directory) {
  const entries = directory.readDirectory();
  const names = [];
  for (let entry; (entry = entries.readDirectoryEntry()) !== undefined; ) names.push(`${entry.name}=${entry.type}`);
  return names.sort();
}

function streams(root) {
  const file = root.openAt(FOLLOW, 'notes', { create: true, exclusive: true }, { read: true, write: true });
  const out = file.writeViaStream(0n);
  console.log('may write', out.checkWrite() > 0n);
  out.write(encode('one two three'));
  out.blockingFlush();
  out.blockingWriteAndFlush(encode(' four'));
  out.blockingWriteZeroesAndFlush(3n);
  out[Symbol.dispose]();
  const more = file.appendViaStream();
  more.blockingWriteAndFlush(encode('!'));
  more[Symbol.dispose]();
  say('notes', () => readAll(file.readViaStream(0n), 5n));
  say('notes from 4', () => readAll(file.readViaStream(4n), 1000n));
  say('notes from behind', () => readAll(file.readViaStream(1000n), 10n));
  const input = file.readViaStream(0n);
  say('skip', () => input.blockingSkip(4n));
  say('then', () => input.blockingRead(3n));
  input.subscribe().block();
  const copy = root.openAt(FOLLOW, 'copy', { create: true }, { write: true });
  const target = copy.writeViaStream(0n);
  say('splice', () => target.blockingSplice(input, 100n));
  target.blockingFlush();
  say('stream of what is written', () => copy.readViaStream(0n).blockingRead(1n));
  const copied = root.openAt(FOLLOW, 'copy', {}, { read: true });
  say('copy', () => copied.read(100n, 0n)[0]);
  say('stream to what is read', () => copied.writeViaStream(0n).blockingWriteAndFlush(encode('x')));
  const large = root.openAt(FOLLOW, 'large', { create: true }, { read: true, write: true });
  const lines = large.writeViaStream(0n);
  for (let line = 0; line < 500; line++) lines.blockingWriteAndFlush(encode(`line ${line} `.repeat(20)));
  lines[Symbol.dispose]();
  const bytes = readAll(large.readViaStream(0n), 65536n);
  console.log('large', bytes.length, bytes.reduce((sum, byte) => (sum * 31 + byte) % 65521, 7));
  root.unlinkFileAt('large');
  say('of what is gone', () => large.read(10n, 20n)[0]);
}

function calls(root) {
  root.createDirectoryAt('dir');
  say('dir again', () => root.createDirectoryAt('dir'));
  const dir = root.openAt(FOLLOW, 'dir', { directory: true }, { read: true, mutateDirectory: true });
  for (let n = 0; n < 50; n++) dir.openAt(FOLLOW, `file${n}`, { create: true }, { write: true });
  console.log(listed(dir).length, listed(dir)[0], listed(dir)[49]);
  root.symlinkAt('dir/file7', 'link');
  root.linkAt({}, 'dir/file7', root, 'hard');
  say('points to', () => root.readlinkAt('link'));
  say('link', () => root.statAt({}, 'link'));
  say('through link', () => root.statAt(FOLLOW, 'link'));
  say('link opened', () => root.openAt({}, 'link', {}, { read: true }));
  const one = root.openAt({}, 'hard', {}, { read: true, write: true });
  const other = root.openAt(FOLLOW, 'link', {}, { read: true });
  console.log('same', one.isSameObject(other), one.isSameObject(dir));
  console.log('hash', one.metadataHash().lower === other.metadataHash().lower);
  say('write', () => one.write(encode('hello'), 3n));
  say('read', () => other.read(100n, 0n)[0]);
  one.setSize(4n);
  say('stat', () => other.stat());
  one.setTimes({ tag: 'no-change' }, { tag: 'timestamp', val: { seconds: 1000000000n, nanoseconds: 7 } });
  const { seconds, nanoseconds } = other.stat().dataModificationTimestamp;
  console.log('modified', seconds, nanoseconds);
  root.renameAt('dir/file8', root, 'hard');
  say('hard', () => root.statAt({}, 'hard'));
  say('remove full', () => root.removeDirectoryAt('dir'));
  say('unlink dir', () => root.unlinkFileAt('dir'));
  say('exclusive', () => root.openAt(FOLLOW, 'hard', { create: true, exclusive: true }, { write: true }));
  say('write a directory', () => root.openAt(FOLLOW, 'dir', {}, { write: true }));
  say('directory for a file', () => root.openAt(FOLLOW, 'hard', { directory: true }, { read: true }));
  for (const path of ['..', '/etc/motd', 'dir/../../x', 'hard/x', 'nothing', '']) say(path, () => root.statAt(FOLLOW, path));
  for (const entry of listed(dir)) dir.unlinkFileAt(entry.split('=')[0]);
  root.removeDirectoryAt('dir');
  console.log(listed(root).join(' '));
}

export const run = {
  run() {
    const [[root, name]] = getDirectories();
    console.log(name);
    say('motd', () => readAll(root.openAt(FOLLOW, 'etc/motd', {}, { read: true }).readViaStream(0n), 100n));
    streams(root);
    calls(root);
  },
};
