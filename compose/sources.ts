/**
 * How our own sources keep their place once they are bundled: what a module finds beside itself (a page, SQL) it
 * still finds, because its `import.meta` names the same place under `dist/`, where the assets lie.
 */
import { readFile } from 'node:fs/promises'
import { dirname, relative } from 'node:path'
import type { Plugin } from 'esbuild'

/** The text of a source with every place in `import.meta` rewritten to what it is from a file directly in `dist/`. */
export function inPlace(text: string, path: string): string {
  const quoted = (place: string) => JSON.stringify(place)
  return text.replaceAll(/\bimport\.meta\.(url|dirname|filename)\b/g, (_, what: string) => {
    if (what === 'url') return `new URL(${quoted(`./${path}`)}, import.meta.url).href`
    return `(import.meta.dirname + ${quoted(`/${what === 'dirname' ? dirname(path) : path}`)})`
  })
}

/** Applies `inPlace` to the sources of the rooms. */
export function sourcesInPlace(root: string, rooms: readonly string[]): Plugin {
  const filter = new RegExp(`/(${rooms.join('|')})/.*\\.ts$`)
  return {
    name: 'sources-in-place',
    setup(build) {
      build.onLoad({ filter }, async ({ path }) => {
        const place = relative(root, path)
        if (place.startsWith('node_modules/') || place.startsWith('..')) return undefined
        const text = await readFile(path, 'utf8')
        return text.includes('import.meta.') ? { contents: inPlace(text, place), loader: 'ts' } : undefined
      })
    }
  }
}
