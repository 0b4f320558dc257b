/**
 * Yamux that survives a stream opened in the very moment its connection ends. The package sends the opening frame from
 * a microtask of its own, where nobody catches that the connection refuses it: the process would end.
 */
import type { Stream } from '@libp2p/interface'
import { yamux } from '@libp2p/yamux'

type Factory = ReturnType<typeof yamux>
/** The part of the package's muxer and streams that this is about. */
interface Opening {
  onCreateStream: (...given: unknown[]) => Stream & { sendWindowUpdate: () => void }
}

/** As `yamux` of the package. */
export function steadyYamux(init: Parameters<typeof yamux>[0]): Factory {
  const factory = yamux(init)
  return () => {
    const made = factory()
    const create = made.createStreamMuxer.bind(made)
    made.createStreamMuxer = connection => {
      const muxer = create(connection)
      const opening = muxer as unknown as Opening
      const open = opening.onCreateStream.bind(muxer)
      opening.onCreateStream = (...given) => catchFirst(open(...given))
      return muxer
    }
    return made
  }
}

/** The first window update is the one from the microtask; what it throws ends the stream, which its opener hears. */
function catchFirst<S extends Stream & { sendWindowUpdate: () => void }>(stream: S): S {
  const send = stream.sendWindowUpdate.bind(stream)
  stream.sendWindowUpdate = () => {
    stream.sendWindowUpdate = send
    try {
      send()
    } catch (error) {
      stream.abort(error as Error)
    }
  }
  return stream
}
