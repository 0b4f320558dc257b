import type { Undo } from './runtime.ts'

/** An undo that acts the first time only; asked again it waits for that. */
export function once(act: () => Promise<void>): Undo {
  let done: Promise<void> | null = null
  return async () => {
    done ??= act()
    await done
  }
}
