/** GATEWAY_INVENTORY_FILE: the names, roles, sites and NATs an operator gives, so that the page can show them. */
import { readFile } from 'node:fs/promises'
import { z } from 'zod'
import { ConfigInvalidError } from '../errors.ts'
import type { InventoryHost } from './hosts.types.ts'

const NAME_MAX_CHARS = 128
const URL_MAX_CHARS = 512

const label = z
  .string()
  .max(NAME_MAX_CHARS)
  .nullish()
  .transform(text => text || null)

const inventorySchema = z.array(
  z.object({
    name: z.string().min(1).max(NAME_MAX_CHARS),
    role: z.string().min(1).max(NAME_MAX_CHARS),
    peerId: label,
    site: label,
    nat: label,
    natKind: label,
    // Only http(s) becomes a link on the page.
    control: z
      .url({ protocol: /^https?$/ })
      .max(URL_MAX_CHARS)
      .nullish()
      .transform(text => text ?? null)
  })
)

/**
 * The hosts in the file; none without a file.
 * @throws ConfigInvalidError with every problem of the file, by place
 */
export async function readInventory(path: string | undefined): Promise<InventoryHost[]> {
  if (path === undefined) return []
  let content: unknown
  try {
    content = JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    throw new ConfigInvalidError([`GATEWAY_INVENTORY_FILE ${path} cannot be read as JSON: ${(error as Error).message}`])
  }
  const parsed = inventorySchema.safeParse(content)
  if (parsed.success) return parsed.data
  throw new ConfigInvalidError(
    parsed.error.issues.map(issue => `GATEWAY_INVENTORY_FILE at ${issue.path.join('.') || 'the top'}: ${issue.message}`)
  )
}
