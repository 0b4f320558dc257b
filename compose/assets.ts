/** Files that sources read beside themselves: a page's parts, SQL. They keep their paths under `dist/`. */
import { copyFile, mkdir } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** Rooms whose modules read files at run time. */
export const ASSET_ROOMS: readonly string[] = ['node', 'relay', 'client', 'gateway', 'migrations']

/** Copies them and returns their paths relative to `dist`. */
export async function copyAssets(root: string, dist: string, sources: string[]): Promise<string[]> {
  const assets = sources.filter(path => ASSET_ROOMS.includes(path.split('/')[0]!) && !path.endsWith('.ts'))
  await Promise.all([...new Set(assets.map(dirname))].map(folder => mkdir(join(dist, folder), { recursive: true })))
  await Promise.all(assets.map(path => copyFile(join(root, path), join(dist, path))))
  return assets
}
