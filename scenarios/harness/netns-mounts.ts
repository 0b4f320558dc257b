/** The file system as a netns testnet sees it: read-only but for its own folder. Only within its own mount namespace. */
import { access, readFile } from 'node:fs/promises'
import { type Run, run as runCommand } from '../../netem/index.ts'

/** Not files: the kernel's own trees, and /run, which is a tmpfs of ours. */
const NOT_FILES = ['/proc', '/sys', '/dev', '/run']
/** Options of a mount that a remount must repeat: in a user namespace they are locked. */
const KEPT_OPTIONS = new Set(['nosuid', 'nodev', 'noexec', 'noatime', 'nodiratime', 'relatime'])

export interface MountLine {
  path: string
  options: string[]
}

/** Mounts of /proc/self/mountinfo (proc(5)) that hold files and can be written. Pure. */
export function writableMounts(mountinfo: string): MountLine[] {
  return mountinfo
    .split('\n')
    .map(line => line.split(' '))
    .filter(fields => fields.length > 5)
    .map(([, , , , path, options]) => ({ path: unescapeOctal(path!), options: options!.split(',') }))
    .filter(
      ({ path, options }) =>
        options.includes('rw') && !NOT_FILES.some(tree => path === tree || path.startsWith(`${tree}/`))
    )
}

/**
 * A fresh /run, and everything else read-only except `writable`. The caller must be in a mount namespace of its own.
 * @throws CommandFailedError
 */
export async function restrictFiles(writable: string[], { run = runCommand }: { run?: Run } = {}): Promise<void> {
  await run(['mount', '-t', 'tmpfs', '-o', 'mode=0755,size=16m', 'tmpfs', '/run'])
  const mounts = writableMounts(await readFile('/proc/self/mountinfo', 'utf8'))
  for (const path of writable) await run(['mount', '--bind', path, path])
  for (const { path, options } of mounts) {
    // Below a folder that is closed to us (a container's root, say): closed to what we start as well.
    if (!(await reachable(path))) continue
    const kept = options.filter(option => KEPT_OPTIONS.has(option))
    await run(['mount', '-o', ['remount', 'bind', 'ro', ...kept].join(','), path])
  }
}

async function reachable(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false
  )
}

/** mountinfo writes space, tab, newline and backslash as `\040` and the like. */
function unescapeOctal(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 8)))
}
