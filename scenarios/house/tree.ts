/** Reads the tree as it is: its TypeScript files and what each imports. Used by the tests of the house. */
import { readdirSync, readFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '')

const NOT_OURS = new Set(['node_modules', 'dist', 'reports', 'coverage', 'artifacts', 'cache'])

/** Every file below the root that is ours, relative to the root; dotted folders are skipped. */
export function files(ending: string, folder = ROOT): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry => {
    if (entry.name.startsWith('.') || NOT_OURS.has(entry.name)) return []
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return files(ending, path)
    return entry.name.endsWith(ending) ? [relative(ROOT, path)] : []
  })
}

// Static, re-exporting, side-effect and dynamic imports with a literal specifier.
const IMPORT = /(?:\bfrom\s*|\bimport\s*\(\s*|^\s*import\s+)(['"])([^'"\n]+)\1/gm

/** The specifiers a file imports, in order, comments left out. */
export function importsOf(file: string): string[] {
  return specifiersIn(readFileSync(join(ROOT, file), 'utf8'))
}

/** Pure half of `importsOf`. */
export function specifiersIn(source: string): string[] {
  const code = source.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
  return [...code.matchAll(IMPORT)].map(match => match[2] as string).filter(specifier => !specifier.includes('${'))
}
