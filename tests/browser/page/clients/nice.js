import {FetchTransport, Metadata, createChannel, createClientFactory} from 'nice-grpc-web';
import {deadlineMiddleware} from 'nice-grpc-client-middleware-deadline';
import {BadRequest} from '../gen-ts-proto/google/rpc/error_details';
import {Status} from '../gen-ts-proto/google/rpc/status';
import {AbsentDefinition, EchoDefinition} from '../gen-ts-proto/tests/echo';
import {CallError, customMetadata} from '../calls';

export function nice(server) {
  const channel = createChannel(server, FetchTransport({credentials: 'include'}));
  const factory = createClientFactory().use(rememberTrailers).use(deadlineMiddleware);
  const echo = factory.create(EchoDefinition, channel);
  const absent = factory.create(AbsentDefinition, channel);
  return {
    unary: (request, call) => translated(call, (options) => echo.unary(request, options)),
    missing: (request, call) => translated(call, (options) => echo.missing(request, options)),
    absent: (request, call) => translated(call, (options) => absent.call(request, options)),
    stream: (request, call, onMessage) =>
      translated(call, async (options) => {
        for await (const message of echo.serverStream(request, options)) onMessage(message);
      }),
  };
}

// An error itself has no metadata here; the trailers do.
async function* rememberTrailers(call, options) {
  let trailers;
  const onTrailer = (received) => {
    trailers = received;
    options.onTrailer?.(received);
  };
  try {
    return yield* call.next(call.request, {...options, onTrailer});
  } catch (error) {
    error.trailers = trailers;
    throw error;
  }
}

async function translated(call, action) {
  const answer = {};
  const options = {
    metadata: Metadata(call.metadata),
    deadline: call.timeout,
    signal: call.signal,
    onHeader: (received) => (answer.headers = customMetadata(pairs(received))),
    onTrailer: (received) => (answer.trailers = customMetadata(pairs(received))),
  };
  try {
    return {message: await action(options), ...answer};
  } catch (error) {
    throw translate(error);
  }
}

function* pairs(metadata) {
  for (const [name, values] of metadata) yield [name, values[0]];
}

function translate(error) {
  const details = error.trailers?.get('grpc-status-details-bin');
  const status = details ? Status.decode(details) : {details: []};
  const violations = status.details.flatMap((detail) => BadRequest.decode(detail.value).fieldViolations);
  const metadata = customMetadata(pairs(error.trailers ?? []));
  return new CallError(error.code ?? null, error.details ?? error.message, violations, error.name, metadata);
}
