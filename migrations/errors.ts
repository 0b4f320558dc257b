/** Base of this room's errors. */
export class MigrationError extends Error {
  readonly code: string

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = new.target.name
    this.code = code
  }
}

/** A statement failed; nothing of its file remains in the database. */
export class MigrationFailedError extends MigrationError {
  readonly file: string
  /** Place of the statement in the file, from 1. */
  readonly statementNumber: number
  readonly line: number

  constructor(file: string, statementNumber: number, line: number, cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    const where = `${file}, statement ${statementNumber} (line ${line})`
    super('MIGRATION_FAILED', `${where} failed and the file was rolled back: ${reason}`, { cause })
    this.file = file
    this.statementNumber = statementNumber
    this.line = line
  }
}

/** Two files carry the same number. */
export class DuplicateMigrationError extends MigrationError {
  constructor(groups: readonly (readonly string[])[]) {
    const list = groups.map(names => names.join(' and ')).join('; ')
    super('MIGRATION_DUPLICATE', `Migrations share a number, give each its own: ${list}`)
  }
}

/** The folder of migrations is missing or cannot be read, or a file's number is too large. */
export class MigrationFolderError extends MigrationError {
  constructor(message: string, options?: ErrorOptions) {
    super('MIGRATION_FOLDER', message, options)
  }
}

/** Another process held the database for too long. */
export class MigrationLockError extends MigrationError {
  constructor(timeoutMs: number, cause: unknown) {
    const message = `The database stayed locked by another process for ${timeoutMs} ms; end what holds it and start again`
    super('MIGRATION_LOCKED', message, { cause })
  }
}
