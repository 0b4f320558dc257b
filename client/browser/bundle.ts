/**
 * `make browser`: the browser client as one ES module, `dist/browser/warren.js`, with nothing of Node in it.
 * Says its size; `browser.test.ts` holds it under `BUNDLE_MAX_BYTES`.
 */
import { mkdir, rename, writeFile } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { gzipSync } from 'node:zlib'

/** Largest bundle, bytes, minified and not compressed; half of it is js-libp2p. */
export const BUNDLE_MAX_BYTES = 600 * 1024
/** The same, as a server sends it with gzip. */
export const BUNDLE_MAX_GZIP_BYTES = 190 * 1024

const ROOT = join(import.meta.dirname, '../..')
const OUT = join(ROOT, 'dist/browser/warren.js')

/** Browsers since the end of 2024 have what is used: `AbortSignal.any`, `Promise.withResolvers`. */
const TARGET = ['chrome119', 'firefox124', 'safari17.4']

export interface BrowserBundle {
  code: Uint8Array
  gzipBytes: number
  /** What it would import at run time: nothing, when all is well. */
  imports: string[]
  /** Files it was made of, from the root of the tree. */
  inputs: string[]
}

/** Makes it; nothing is written. @throws esbuild's BuildFailure, which names an import of Node that slipped in */
export async function bundleBrowser(): Promise<BrowserBundle> {
  const { build } = await import('esbuild')
  const { outputFiles, metafile } = await build({
    absWorkingDir: ROOT,
    entryPoints: ['client/browser.ts'],
    outfile: OUT,
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    target: TARGET,
    legalComments: 'none',
    metafile: true,
    write: false,
    logLevel: 'silent'
  })
  const code = outputFiles[0]!.contents
  return {
    code,
    gzipBytes: gzipSync(code).byteLength,
    imports: Object.values(metafile.outputs).flatMap(output => output.imports.map(({ path }) => path)),
    inputs: Object.keys(metafile.inputs)
  }
}

if (import.meta.main) {
  const { code, gzipBytes } = await bundleBrowser()
  await mkdir(dirname(OUT), { recursive: true })
  // A server may be reading the one before.
  const partial = `${OUT}.${process.pid}.tmp`
  await writeFile(partial, code)
  await rename(partial, OUT)
  console.error(`${relative(process.cwd(), OUT)}: ${code.byteLength} bytes, ${gzipBytes} with gzip.`)
}
