/** Whether a frame is what a case expects, and in words what is wrong with it. */

import {
  hex,
  numberField,
  parse,
  parseRequest,
  parseResponse,
  type Response,
  sameMessage,
  SERVICE,
  toBytes,
} from "./proto.ts";
import type {
  CodeMatch,
  ExpectedFrame,
  ExpectedOutcome,
  RequestMatch,
  ResponseMatch,
} from "./vector.ts";
import { DATA, type Event, type Frame, REQUEST, RESPONSE } from "./wire.ts";

const TYPES: Record<number, string> = {
  [REQUEST]: "Request",
  [RESPONSE]: "Response",
  [DATA]: "Data",
};

/** What has come, for a person. */
export function describe(event: Event): string {
  if (event === "close") return "the end of the connection";
  if (event === "nothing") return "nothing in time";
  const { stream, type, flags, data } = event;
  const head = `${TYPES[type] ?? `frame of type ${type}`} on stream ${stream}, flags ${flags}`;
  const response = type === RESPONSE ? parseResponse(data) : undefined;
  if (response) return `${head}: ${describeResponse(response)}`;
  const request = type === REQUEST ? parseRequest(data) : undefined;
  if (request) {
    const { service, method, payload, timeoutNano, metadata } = request;
    return `${head}: ${service}/${method}, payload ${describeBytes(payload)}, ` +
      `timeout ${timeoutNano} ns, metadata ${JSON.stringify(metadata)}`;
  }
  return `${head}: ${describeBytes(data)}`;
}

function describeResponse({ code, message, details, payload }: Response): string {
  const status = code === 0 && message === "" ? "OK" : `status ${code} ${JSON.stringify(message)}`;
  const more = details.length === 0 ? "" : ` with ${details.length} details`;
  return `${status}${more}, payload ${describeBytes(payload)}`;
}

export function describeBytes(bytes: Uint8Array): string {
  if (bytes.length === 0) return "empty";
  if (bytes.length <= 40) return hex(bytes);
  return `${hex(bytes.subarray(0, 32))}... (${bytes.length} bytes)`;
}

/** What is expected, for a person. */
export function describeExpected(expected: ExpectedFrame): string {
  const { stream = 1, request, response, data, flags, length, type, bytes } = expected;
  const name = request ? "Request" : response ? "Response" : TYPES[type ?? DATA];
  const parts = [`${name ?? `frame of type ${type}`} on stream ${stream}`];
  if (flags !== undefined) parts.push(`flags ${[flags].flat().join(" or ")}`);
  if (length !== undefined) parts.push(`data of ${length} bytes`);
  const content = request ?? response;
  if (content) parts.push(JSON.stringify(content));
  else if (data !== undefined) parts.push(`message ${describeBytes(toBytes(data))}`);
  else if (bytes !== undefined) parts.push(describeBytes(toBytes(bytes)));
  return parts.join(", ");
}

/** Whether a frame is the one that is expected. */
export function matches(event: Event, expected: ExpectedFrame): boolean {
  if (typeof event === "string") return false;
  const { stream, type, flags, data } = event;
  if (stream !== (expected.stream ?? 1)) return false;
  if (expected.flags !== undefined && ![expected.flags].flat().includes(flags)) return false;
  if (expected.length !== undefined && data.length !== expected.length) return false;
  if (expected.type !== undefined) {
    const { bytes } = expected;
    return type === expected.type && (bytes === undefined || hex(data) === hex(toBytes(bytes)));
  }
  if (expected.request) return type === REQUEST && matchesRequest(data, expected.request);
  if (expected.response) return type === RESPONSE && matchesResponse(data, expected.response);
  if (type !== DATA) return false;
  return expected.data === undefined || sameMessage(data, toBytes(expected.data));
}

export function matchesCode(code: number, expected: CodeMatch = 0): boolean {
  return expected === "error" ? code !== 0 : [expected].flat().includes(code);
}

function matchesText(text: string, exact: string | undefined, pattern: string | undefined) {
  if (exact !== undefined && text !== exact) return false;
  return pattern === undefined || new RegExp(pattern).test(text);
}

export function matchesResponse(data: Uint8Array, expected: ResponseMatch): boolean {
  const response = parseResponse(data);
  if (!response) return false;
  const { payload, payloadLength, payloadNumber } = expected;
  if (payload !== undefined && !sameMessage(response.payload, toBytes(payload))) return false;
  if (payloadLength !== undefined && response.payload.length !== payloadLength) return false;
  if (payloadNumber) {
    const { field, min, max } = payloadNumber;
    const value = numberField(parse(response.payload) ?? [], field);
    if (value < min || value > max) return false;
  }
  return matchesStatus(response, expected);
}

function matchesStatus(status: Omit<Response, "payload">, expected: ResponseMatch): boolean {
  if (!matchesCode(status.code, expected.code)) return false;
  if (!matchesText(status.message, expected.message, expected.messageMatches)) return false;
  if (!expected.details) return true;
  const details = expected.details.map(([url, value]) => [url, hex(toBytes(value))]);
  return JSON.stringify(status.details.map(([url, value]) => [url, hex(value)])) ===
    JSON.stringify(details);
}

function matchesRequest(data: Uint8Array, expected: RequestMatch): boolean {
  const request = parseRequest(data);
  if (!request) return false;
  const { service = SERVICE, method, payload, payloadLength, timeoutNano, metadata } = expected;
  if (request.service !== service) return false;
  if (method !== undefined && request.method !== method) return false;
  if (payload !== undefined && !sameMessage(request.payload, toBytes(payload))) return false;
  if (payloadLength !== undefined && request.payload.length !== payloadLength) return false;
  if (timeoutNano) {
    const { min, max } = timeoutNano;
    if (request.timeoutNano < BigInt(min) || request.timeoutNano > BigInt(max)) return false;
  }
  return !metadata || JSON.stringify(request.metadata) === JSON.stringify(metadata);
}

/** What a client says of a call. */
export interface Outcome {
  code: number;
  message?: string;
  details?: [string, string][];
  responses?: string[];
}

export function describeOutcome({ code, message, responses = [] }: Outcome): string {
  const ended = code === 0 ? "OK" : `status ${code} ${JSON.stringify(message ?? "")}`;
  const shown = responses.slice(0, 4).map((each) => describeBytes(Uint8Array.fromHex(each)));
  return `${ended} after ${responses.length} messages: ${shown.join(", ")}`;
}

export function matchesOutcome(outcome: Outcome, expected: ExpectedOutcome): boolean {
  const { code, message = "", responses = [] } = outcome;
  const details = (outcome.details ?? []).map(([url, value]): [string, Uint8Array] => [
    url,
    Uint8Array.fromHex(value),
  ]);
  if (!matchesStatus({ code, message, details }, expected)) return false;
  if (expected.responseLengths) {
    const lengths = responses.map((each) => each.length / 2);
    if (lengths.join() !== expected.responseLengths.join()) return false;
  }
  const wanted = expected.numbered === undefined
    ? expected.responses?.map((each) => toBytes(each))
    : numbered(expected.numbered);
  if (!wanted) return true;
  return wanted.length === responses.length &&
    wanted.every((each, i) => sameMessage(each, Uint8Array.fromHex(responses[i]!)));
}

/** Messages that tell their place in the stream: EchoRequests with their number as payload. */
export function numbered(count: number): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => toBytes({ field: 1, bytes: { index: true } }, i));
}

/** What a Data frame or an ending means to a tolerant receiver. */
export function reading(frame: Frame): { message?: Uint8Array; end?: Uint8Array | true } {
  if (frame.type === RESPONSE) {
    const response = parseResponse(frame.data);
    if (response?.code === 0 && response.payload.length > 0) {
      return { message: response.payload, end: frame.data };
    }
    return { end: frame.data };
  }
  const closes = (frame.flags & 1) !== 0;
  return {
    ...(frame.flags & 4 ? {} : { message: frame.data }),
    ...(closes ? { end: true as const } : {}),
  };
}
