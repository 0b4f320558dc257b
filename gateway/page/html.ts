/** HTML as text, escaped by construction: what is put into a template is text unless it came out of one. */

export class Html {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

export type Insertable = Html | string | number | null | undefined | false | readonly Insertable[]

const ESCAPES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;'
}

function insert(value: Insertable): string {
  if (value instanceof Html) return value.text
  if (value === null || value === undefined || value === false) return ''
  if (Array.isArray(value)) return value.map(insert).join('')
  return String(value).replace(/[&<>"']/g, character => ESCAPES[character] as string)
}

/** Attributes in a template are always quoted, so that the same escaping is right for them. */
export function html(strings: TemplateStringsArray, ...values: readonly Insertable[]): Html {
  return new Html(strings.reduce((text, part, index) => text + insert(values[index - 1]) + part))
}
