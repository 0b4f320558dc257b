/** What can go wrong with images; each says what to do. */

/** Thrown when no Docker engine answers. */
export class EngineMissingError extends Error {
  readonly code = 'ENGINE_MISSING'
  constructor(why: string) {
    super(`no Docker engine answers (${why.trim().split('\n').at(-1)}): \`make docker-engine\` gets one on Debian`)
    this.name = new.target.name
  }
}

/** Thrown when an image cannot be built. */
export class ImageBuildError extends Error {
  readonly code = 'IMAGE_BUILD_FAILED'
  constructor(image: string, output: string) {
    super(`the image ${image} cannot be built:\n${output.trim()}`)
    this.name = new.target.name
  }
}

/** Thrown when the emulator's guest cannot be made. */
export class GuestImageError extends Error {
  readonly code = 'GUEST_IMAGE_FAILED'
  constructor(output: string, options: ErrorOptions) {
    super(`the guest cannot be made:\n${output.trim()}`, options)
    this.name = new.target.name
  }
}
