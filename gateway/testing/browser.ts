/** A real Chromium without a window, spoken to by its DevTools protocol. Not for production code. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { WebSocket } from 'ws'

export interface Browser extends AsyncDisposable {
  open: (url: string) => Promise<Page>
}

export interface Page {
  /** Value of an expression in the page; it must be JSON. */
  evaluate: (expression: string) => Promise<unknown>
  /** Picks a file in the `<input type=file>` of this id, as a person does. */
  pick: (id: string, path: string) => Promise<void>
  /** The page as a PNG, in a window of so many CSS pixels. */
  screenshot: (window: { width: number; height: number }) => Promise<Uint8Array>
}

const NAMES = ['chromium', 'chromium-browser', 'google-chrome']

/** null where none is installed. */
export async function startBrowser(): Promise<Browser | null> {
  const profile = await mkdtemp(join(tmpdir(), 'warren-browser-'))
  for (const name of NAMES) {
    // Without a sandbox: it is refused to root, and the only page it shows is ours.
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--remote-debugging-port=0']
    const child = spawn(name, [...flags, `--user-data-dir=${profile}`], { stdio: ['ignore', 'ignore', 'pipe'] })
    const devtools = await devtoolsOf(child)
    if (devtools !== null) return await connect(child, devtools, profile)
  }
  await rm(profile, { recursive: true, force: true })
  return null
}

async function devtoolsOf(child: ChildProcess): Promise<string | null> {
  const missing = new Promise<null>(resolve =>
    child.once('error', () => resolve(null)).once('exit', () => resolve(null))
  )
  const found = (async () => {
    for await (const line of createInterface(child.stderr as NodeJS.ReadableStream)) {
      const [, url] = /^DevTools listening on (ws:\S+)/.exec(line) ?? []
      if (url !== undefined) return url
    }
    return null
  })()
  return await Promise.race([missing, found])
}

async function connect(child: ChildProcess, devtools: string, profile: string): Promise<Browser> {
  // What it goes on to say must not fill the pipe.
  child.stderr?.resume()
  const socket = new WebSocket(devtools)
  await once(socket, 'open')
  let ids = 0

  /** One command and its answer. */
  function ask<T>(method: string, params: object, sessionId?: string): Promise<T> {
    ids += 1
    const id = ids
    return new Promise((resolve, reject) => {
      socket.on('message', function answered(data: Buffer) {
        const answer = JSON.parse(data.toString()) as { id?: number; result: T; error?: { message: string } }
        if (answer.id !== id) return
        socket.off('message', answered)
        if (answer.error === undefined) resolve(answer.result)
        else reject(new Error(`${method}: ${answer.error.message}`))
      })
      socket.send(JSON.stringify({ id, method, params, ...(sessionId === undefined ? {} : { sessionId }) }))
    })
  }

  return {
    async open(url) {
      const { targetId } = await ask<{ targetId: string }>('Target.createTarget', { url })
      const { sessionId } = await ask<{ sessionId: string }>('Target.attachToTarget', { targetId, flatten: true })
      return {
        async evaluate(expression) {
          const params = { expression, returnByValue: true }
          const { result } = await ask<{ result: { value?: unknown } }>('Runtime.evaluate', params, sessionId)
          return result.value
        },
        async pick(id, path) {
          const params = { expression: `document.getElementById('${id}')` }
          const { result } = await ask<{ result: { objectId?: string } }>('Runtime.evaluate', params, sessionId)
          await ask('DOM.setFileInputFiles', { files: [path], objectId: result.objectId }, sessionId)
        },
        async screenshot(window) {
          const size = { ...window, deviceScaleFactor: 1, mobile: false }
          await ask('Emulation.setDeviceMetricsOverride', size, sessionId)
          const { data } = await ask<{ data: string }>('Page.captureScreenshot', { format: 'png' }, sessionId)
          return Buffer.from(data, 'base64')
        }
      }
    },
    async [Symbol.asyncDispose]() {
      const exited = once(child, 'exit')
      socket.send(JSON.stringify({ id: 0, method: 'Browser.close' }))
      await exited
      await rm(profile, { recursive: true, force: true, maxRetries: 5 })
    }
  }
}
