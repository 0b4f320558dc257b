/** Programs of this machine, and the Debian packages that bring those of the lab. */
import { access, constants } from 'node:fs/promises'
import { delimiter, join } from 'node:path'

const PACKAGES: Record<string, string> = {
  unshare: 'util-linux',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
  mount: 'mount',
  ip: 'iproute2',
  tc: 'iproute2',
  nft: 'nftables',
  iptables: 'iptables',
  conntrack: 'conntrack'
}

/** Debian keeps some of them in sbin, which an ordinary user's PATH leaves out. */
export const SEARCH_PATH = [
  ...new Set([...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin', '/usr/bin', '/bin'])
]

export async function findProgram(name: string): Promise<string | null> {
  for (const folder of SEARCH_PATH) {
    const path = join(folder, name)
    try {
      await access(path, constants.X_OK)
      return path
    } catch {
      // The next folder may have it.
    }
  }
  return null
}

/** Debian packages of the lab's programs that are not here. */
export async function missingPackages(): Promise<string[]> {
  const found = await Promise.all(Object.keys(PACKAGES).map(findProgram))
  const missing = Object.values(PACKAGES).filter((_, index) => found[index] === null)
  return [...new Set(missing)].sort()
}

/** Whether this process is root as far as namespaces go. */
export function isRoot(): boolean {
  return process.geteuid?.() === 0
}

/** The one command that brings these Debian packages. */
export function installCommand(packages: string[]): string {
  return `${isRoot() ? '' : 'sudo '}apt-get install -y --no-install-recommends ${packages.join(' ')}`
}
