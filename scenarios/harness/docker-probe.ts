/** What the Docker engine and Compose of this machine are, and what they lack for the `docker` runtime. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import type { Missing } from './runtime.ts'

const run = promisify(execFile)
const PROBE_TIMEOUT_MS = 15_000
const FIX = 'make docker-engine'
/** The engine is there, and this user may not speak to it. */
const JOIN_GROUP = 'sudo usermod -aG docker "$USER", then log in again'
/** It drops packets for containers of other bridges, and `trusted_host_interfaces` came with 28.2. */
const DEAF_ENGINE = /^28\.[01]\./
const COMPOSE_MAJOR = 2

/** What a command said, or how it failed. */
export type Answer = { said: string } | { failed: string }

async function asked(args: string[]): Promise<Answer> {
  try {
    const { stdout } = await run('docker', args, { timeout: PROBE_TIMEOUT_MS })
    return { said: stdout.trim() }
  } catch (error) {
    const { stderr = '', message } = error as { stderr?: string; message: string }
    return { failed: (stderr.trim() || message).split('\n').at(-1)! }
  }
}

export interface DockerFound {
  /** Versions of the engine and of Compose, of those that answered. */
  versions: string[]
  missing: Missing[]
}

/** @param engine answer of `docker version`; @param compose of `docker compose version`: versions alone */
export function judgeDocker(engine: Answer, compose: Answer): DockerFound {
  const missing: Missing[] = []
  const versions: string[] = []
  if ('failed' in engine) {
    const fix = /permission denied/i.test(engine.failed) ? JOIN_GROUP : FIX
    missing.push({ what: 'a Docker engine', why: engine.failed, fix })
  } else {
    versions.push(`engine ${engine.said}`)
    if (DEAF_ENGINE.test(engine.said))
      missing.push({
        what: 'networks that trust each other',
        why: `engine ${engine.said} drops what a router hands to another bridge and has no option against it`,
        fix: `upgrade the engine to 28.2 or later (or ${FIX} on a Debian without one)`
      })
  }
  if ('failed' in compose) missing.push({ what: 'Docker Compose v2', why: compose.failed, fix: FIX })
  else {
    versions.push(`Compose ${compose.said}`)
    if (Number(compose.said.replace(/^v/, '').split('.')[0]) < COMPOSE_MAJOR)
      missing.push({ what: 'Docker Compose v2', why: `this is version ${compose.said}`, fix: FIX })
  }
  return { versions, missing }
}

/** Asks the `docker` command of this machine, and so whatever engine `DOCKER_HOST` names. */
export async function probeDocker(): Promise<DockerFound> {
  const [engine, compose] = await Promise.all([
    asked(['version', '--format', '{{.Server.Version}}']),
    asked(['compose', 'version', '--short'])
  ])
  return judgeDocker(engine, compose)
}
