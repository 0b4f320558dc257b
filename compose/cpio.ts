/** Files as a cpio archive in the "newc" format, which Linux unpacks at boot: more than one may follow another. Pure. */

const MAGIC = '070701'
const TRAILER = 'TRAILER!!!'
const FILE_MODE = 0o100644
const FOLDER_MODE = 0o040755
/** Name and contents begin at multiples of this, bytes. */
const ALIGNMENT = 4

/** @param files path without a leading slash → contents; folders are made on the way */
export function cpioOf(files: Record<string, Uint8Array>): Buffer {
  const folders = new Set(Object.keys(files).flatMap(foldersOf))
  const entries = [
    ...[...folders].map(path => entry(path, FOLDER_MODE, new Uint8Array())),
    ...Object.entries(files).map(([path, contents]) => entry(path, FILE_MODE, contents)),
    entry(TRAILER, 0, new Uint8Array())
  ]
  return Buffer.concat(entries)
}

/** `a/b/c` → `a`, `a/b`. */
function foldersOf(path: string): string[] {
  const parts = path.split('/').slice(0, -1)
  return parts.map((_, index) => parts.slice(0, index + 1).join('/'))
}

function entry(path: string, mode: number, contents: Uint8Array): Buffer {
  const name = Buffer.from(`${path}\0`)
  // inode mode uid gid links mtime size, device and special device (major, minor), length of the name, checksum
  const fields = [0, mode, 0, 0, 1, 0, contents.length, 0, 0, 0, 0, name.length, 0]
  const head = Buffer.from(MAGIC + fields.map(field => field.toString(16).padStart(8, '0')).join(''))
  return Buffer.concat([padded(Buffer.concat([head, name])), padded(contents)])
}

function padded(bytes: Uint8Array): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((ALIGNMENT - (bytes.length % ALIGNMENT)) % ALIGNMENT)])
}
