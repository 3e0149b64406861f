// What the generated stubs leave out: a transport, and the reason of an error.

import { Code, ConnectError, type Transport } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";

import { type ErrorInfo, ErrorInfoSchema } from "../gen/google/rpc/error_info_pb.js";

/** Returns a transport to a gateway at HOST:PORT, in plain text. Calls have 10 seconds unless they say otherwise. */
export function connect(target: string): Transport {
  return createGrpcTransport({ baseUrl: `http://${target}`, defaultTimeoutMs: 10_000 });
}

/** Returns what a gateway says of an error to programs; undefined where the error is not a gateway's. */
export function errorInfo(error: unknown): ErrorInfo | undefined {
  return ConnectError.from(error).findDetails(ErrorInfoSchema)[0];
}

/** Returns an error's stable reason, such as ROUTE_NOT_FOUND; without one its code's name, such as DeadlineExceeded. */
export function reasonOf(error: unknown): string {
  return errorInfo(error)?.reason ?? Code[ConnectError.from(error).code];
}
