/** What a person looks at, and this description itself. */
import { z } from 'zod'
import type { Operation } from './operation.ts'

const TAG = 'Pages'

export const pageOperations: Operation[] = [
  {
    at: ['GET /'],
    tag: TAG,
    summary: 'The network as a page',
    access: 'public',
    answers: { 200: { description: 'the page', body: 'html' } }
  },
  {
    at: ['GET /docs'],
    tag: TAG,
    summary: 'This API as a page',
    access: 'public',
    answers: { 200: { description: 'the page', body: 'html' } }
  },
  {
    at: ['GET /openapi.json'],
    tag: TAG,
    summary: 'This API as OpenAPI 3.1',
    access: 'public',
    answers: {
      200: { description: 'the document', body: z.looseObject({ openapi: z.string(), paths: z.looseObject({}) }) }
    }
  }
]
