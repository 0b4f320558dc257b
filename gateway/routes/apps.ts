/** /v1/apps: the programs a namespace's owner has registered (D71). */
import type { Context } from 'koa'
import { newAppId } from '../auth/secrets.ts'
import { isPlain } from '../auth/text.ts'
import { APP_NAME_MAX_CHARS, AUTH_BODY_MAX_BYTES } from '../constants.ts'
import { RequestInvalidError } from '../errors.ts'
import { type GatewayMiddleware, type Route, route } from '../http.ts'
import { jsonBodyOf } from '../middleware/limits.ts'
import type { TenantHandler } from '../middleware/own-namespace.ts'
import { presentApp, presentListedApp } from '../present.ts'
import type { Apps } from '../store/apps.ts'

export interface AppRouteOptions {
  apps: Apps
  authenticate: GatewayMiddleware
  ownNamespace: (handler: TenantHandler) => GatewayMiddleware
}

const PUBLIC_KEY_MAX_CHARS = 1024

export function appRoutes({ apps, authenticate, ownNamespace }: AppRouteOptions): Route[] {
  const list: TenantHandler = async (context, { namespace }) => {
    const items = (await apps.list(namespace)).map(app => presentListedApp({ ...app, namespace }))
    context.body = { items, count: items.length }
  }

  const add: TenantHandler = async (context, { namespace }) => {
    const { name, publicKey } = await fieldsOf(context)
    if (name === null || publicKey === null) throw new RequestInvalidError('invalid body: expected {name, public_key}')
    const app = { appId: newAppId(), name, publicKey }
    await apps.add(namespace, app)
    context.status = 201
    context.body = presentApp({ ...app, namespace })
  }

  const get: TenantHandler = async (context, { namespace }) => {
    context.body = presentListedApp({ ...(await apps.get(namespace, idOf(context))), namespace })
  }

  const change: TenantHandler = async (context, { namespace }) => {
    const fields = await fieldsOf(context)
    if (fields.name === null && fields.publicKey === null) throw new RequestInvalidError('no fields to update')
    await apps.change(namespace, idOf(context), fields)
    context.body = { status: 'ok' }
  }

  const remove: TenantHandler = async (context, { namespace }) => {
    await apps.remove(namespace, idOf(context))
    context.body = { status: 'ok' }
  }

  return [
    route('GET', '/v1/apps', authenticate, ownNamespace(list)),
    route('POST', '/v1/apps', authenticate, ownNamespace(add)),
    route('GET', '/v1/apps/:app_id', authenticate, ownNamespace(get)),
    route('PUT', '/v1/apps/:app_id', authenticate, ownNamespace(change)),
    route('DELETE', '/v1/apps/:app_id', authenticate, ownNamespace(remove))
  ]
}

function idOf(context: Context & { params?: Record<string, string> }): string {
  return context.params?.app_id ?? ''
}

async function fieldsOf(context: Context): Promise<{ name: string | null; publicKey: string | null }> {
  const body = await jsonBodyOf(context, { maxBytes: AUTH_BODY_MAX_BYTES, expected: '{name, public_key}' })
  return {
    name: textOf(body.name, 'name', APP_NAME_MAX_CHARS),
    publicKey: textOf(body.public_key, 'public_key', PUBLIC_KEY_MAX_CHARS)
  }
}

function textOf(value: unknown, name: string, maxChars: number): string | null {
  if (value === undefined || value === null) return null
  if (value === '' || !isPlain(value, maxChars)) {
    throw new RequestInvalidError(`invalid '${name}': expected a text of 1 to ${maxChars} characters`)
  }
  return value
}
