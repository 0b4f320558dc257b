/** Builds the peer of the second implementation with the machine's own Go, whose modules come by its ordinary client. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { CommandFailedError, run } from '../../netem/index.ts'
import { ROOT } from '../harness/paths.ts'

const SOURCE = join(import.meta.dirname, 'go')
const PROGRAM = join(ROOT, 'dist', 'interop', 'go-peer')

/** The first time, from an empty cache. */
const DOWNLOAD_TIMEOUT_MS = 240_000
const BUILD_TIMEOUT_MS = 400_000

/** Path of the program, or why this machine cannot have it and what mends that. */
export type GoPeer = { program: string } | { missing: string }

/** @throws CommandFailedError when the source does not build, which is nobody's fault but ours */
export async function buildGoPeer(signal: AbortSignal): Promise<GoPeer> {
  // Static, and never another toolchain than the one that is here: `go.mod` says which one it needs.
  const go = (args: string[], timeoutMs: number) =>
    run(['env', '-C', SOURCE, 'CGO_ENABLED=0', 'GOTOOLCHAIN=local', 'GOFLAGS=-buildvcs=false', 'go', ...args], {
      signal,
      timeoutMs
    })
  try {
    await go(['version'], DOWNLOAD_TIMEOUT_MS)
  } catch (error) {
    return {
      missing: `go is not installed (${why(error)}); install the version that scenarios/interop/go/go.mod names`
    }
  }
  try {
    await go(['mod', 'download'], DOWNLOAD_TIMEOUT_MS)
  } catch (error) {
    return { missing: `its Go modules cannot be had here (${why(error)}); run go mod download where they can` }
  }
  await mkdir(join(PROGRAM, '..'), { recursive: true })
  await go(['build', '-o', PROGRAM, '.'], BUILD_TIMEOUT_MS)
  return { program: PROGRAM }
}

function why(error: unknown): string {
  if (error instanceof CommandFailedError) return error.stderr.trim().split('\n').at(-1) || error.message
  throw error
}
