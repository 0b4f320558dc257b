/** The engine, reached through testcontainers; the only file that imports it. */
import type { Readable } from 'node:stream'
import type Dockerode from 'dockerode'
import type { ContainerRuntimeClient, DockerComposeEnvironment, StartedTestContainer } from 'testcontainers'
import { EngineError } from './docker-errors.ts'
import type { ExecResult } from './runtime.ts'

// Its reaper would delete the testnet when this process ends. Clean-up is ours: labels, a record, a sweep.
process.env.TESTCONTAINERS_RYUK_DISABLED = 'true'

/** Output of one stream of a command; what is beyond is dropped. */
const MAX_OUTPUT_BYTES = 1 << 20
/** Header of a frame of the engine's multiplexed streams: stream, three zeros, length. */
const FRAME_HEADER_BYTES = 8
const STDERR_STREAM = 2
const CANNOT_START = /OCI runtime exec failed/
const KILLED_EXIT = 137

export type Client = ContainerRuntimeClient
export type Container = Dockerode.Container

/** @throws EngineError when no engine answers */
export async function dockerClient(): Promise<Client> {
  const { getContainerRuntimeClient } = await import('testcontainers')
  try {
    return await getContainerRuntimeClient()
  } catch (cause) {
    throw new EngineError(cause)
  }
}

/** The compose file of a folder as testcontainers' environment: nothing is waited for, nothing is reaped. */
export async function composeEnvironment(
  folder: string,
  file: string,
  project: string
): Promise<DockerComposeEnvironment> {
  const testcontainers = await import('testcontainers')
  const { StartupCheckStrategy } = testcontainers
  // Readiness is asked of the roles themselves, all at once, and a failure must not stop one container of many.
  class AtOnce extends StartupCheckStrategy {
    override async checkStartupState(): Promise<'SUCCESS'> {
      return 'SUCCESS'
    }
    override async waitUntilReady(): Promise<void> {}
  }
  return new testcontainers.DockerComposeEnvironment(folder, file)
    .withProjectName(project)
    .withAutoCleanup(false)
    .withDefaultWaitStrategy(new AtOnce())
}

export type { StartedTestContainer }

/** Frames of the engine's stream as text of stdout and stderr, each cut at its limit. */
export function demultiplex(frames: Buffer): { stdout: string; stderr: string; all: string } {
  const parts: Record<'stdout' | 'stderr', Buffer[]> = { stdout: [], stderr: [] }
  const all: Buffer[] = []
  for (let at = 0; at + FRAME_HEADER_BYTES <= frames.length; ) {
    const length = frames.readUInt32BE(at + 4)
    const body = frames.subarray(at + FRAME_HEADER_BYTES, at + FRAME_HEADER_BYTES + length)
    parts[frames[at] === STDERR_STREAM ? 'stderr' : 'stdout'].push(body)
    all.push(body)
    at += FRAME_HEADER_BYTES + length
  }
  const text = (buffers: Buffer[]) => Buffer.concat(buffers).toString('utf8')
  return { stdout: text(parts.stdout), stderr: text(parts.stderr), all: text(all) }
}

async function collect(stream: Readable, signal: AbortSignal | undefined): Promise<Buffer> {
  const chunks: Buffer[] = []
  let sizeBytes = 0
  const abort = (): void => void stream.destroy(signal?.reason as Error)
  signal?.addEventListener('abort', abort, { once: true })
  try {
    signal?.throwIfAborted()
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (sizeBytes < 2 * MAX_OUTPUT_BYTES) chunks.push(chunk)
      sizeBytes += chunk.length
    }
  } finally {
    signal?.removeEventListener('abort', abort)
  }
  return Buffer.concat(chunks)
}

/**
 * Run a command in a running container as the container's user with its environment.
 * Aborting ends the command too: it is started through a shell that first leaves its pid.
 * @throws when it cannot be started: the container does not run, or there is no such program
 */
export async function execIn(container: Container, argv: string[], signal?: AbortSignal): Promise<ExecResult> {
  signal?.throwIfAborted()
  const pidFile = `/tmp/.exec-${process.pid}-${Math.trunc(performance.now() * 1000)}`
  const wrapped = signal === undefined ? argv : ['sh', '-c', `echo $$ >${pidFile}; exec "$@"`, 'sh', ...argv]
  const exec = await container.exec({ Cmd: wrapped, AttachStdout: true, AttachStderr: true })
  const stream = await exec.start({ Detach: false, Tty: false })
  let frames: Buffer
  try {
    frames = await collect(stream, signal)
  } catch (error) {
    const end = await container.exec({ Cmd: ['sh', '-c', `kill -9 $(cat ${pidFile}); rm -f ${pidFile}`] })
    await end.start({ Detach: true }).catch(() => undefined)
    throw error
  }
  const { ExitCode } = await exec.inspect()
  const { stdout, stderr } = demultiplex(frames)
  if (CANNOT_START.test(stdout)) throw new Error(`${argv[0]} cannot be started: ${stdout.trim()}`)
  return {
    code: ExitCode ?? KILLED_EXIT,
    stdout: stdout.slice(0, MAX_OUTPUT_BYTES),
    stderr: stderr.slice(0, MAX_OUTPUT_BYTES)
  }
}

/** What a container wrote so far, oldest first. `tail`: only so many last lines. */
export async function logsOf(container: Container, tail?: number): Promise<string> {
  const limit = tail === undefined ? {} : { tail }
  const frames = (await container.logs({ follow: false, stdout: true, stderr: true, ...limit })) as unknown as Buffer
  return demultiplex(frames).all
}

/** What a container beside another may do and is called. */
export interface BesideOptions {
  /** What it may do, as the kernel calls it. Default: nothing. */
  capabilities?: string[]
  labels: Record<string, string>
  user?: string
  /** Folders of this machine it may write to, as `<here>:<there>`. */
  binds?: string[]
}

/** Start one command in a container of its own that shares another's network; whoever starts it removes it. */
export async function startBeside(
  client: Client,
  network: string,
  image: string,
  argv: string[],
  { capabilities = [], labels, user, binds = [] }: BesideOptions
): Promise<Container> {
  const { dockerode } = client.container
  const container = await dockerode.createContainer({
    Image: image,
    Cmd: argv,
    Labels: labels,
    ...(user === undefined ? {} : { User: user }),
    HostConfig: {
      NetworkMode: `container:${network}`,
      CapDrop: ['ALL'],
      CapAdd: capabilities,
      SecurityOpt: ['no-new-privileges'],
      ReadonlyRootfs: true,
      Binds: binds
    }
  })
  try {
    await container.start()
  } catch (error) {
    await container.remove({ force: true })
    throw error
  }
  return container
}

/** Run one command so, wait for its end, and remove its container. */
export async function runBeside(
  client: Client,
  network: string,
  image: string,
  argv: string[],
  options: BesideOptions
): Promise<ExecResult> {
  const container = await startBeside(client, network, image, argv, options)
  try {
    const { StatusCode } = (await container.wait()) as { StatusCode: number }
    const frames = (await container.logs({ stdout: true, stderr: true })) as unknown as Buffer
    const { stdout, stderr } = demultiplex(frames)
    return { code: StatusCode, stdout, stderr }
  } finally {
    await container.remove({ force: true })
  }
}
