/** Reads the README's examples: each `sh` block with the `text` block that follows it, if any. Pure. */

export interface Example {
  /** The shell lines of the block. */
  script: string
  /** What it prints, or null when the README does not say. `…` stands for anything. */
  expected: string | null
}

const BLOCK = /```sh\n([\s\S]*?)```(?:\n```text\n([\s\S]*?)```)?/g

/** The examples of one section of a Markdown text, in order. */
export function examplesOf(markdown: string, heading: string): Example[] {
  const section = markdown.split(/^## /m).find(part => part.startsWith(heading)) ?? ''
  return [...section.matchAll(BLOCK)].map(match => ({
    script: (match[1] as string).trim(),
    expected: match[2]?.trim() ?? null
  }))
}

/** Whether an output is what the README says it is. */
export function matches(output: string, expected: string): boolean {
  const pattern = expected
    .trim()
    .split('…')
    .map(part => part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
    .join('[\\s\\S]*')
  return new RegExp(`^${pattern}$`).test(output.trim())
}
