import * as cases from './cases';
import {TOKEN} from './calls';
import {
  connectJson,
  connectJsonGet,
  connectProto,
  connectProtoGet,
  grpcWebJson,
  grpcWebProto,
} from './clients/connect';
import {grpcWebGenerated} from './clients/generated';
import {grpcWebBinary, grpcWebText} from './clients/grpc_web';
import {nice} from './clients/nice';
import {protobufTsBinary, protobufTsText} from './clients/protobuf_ts';

const clients = {
  'connect-web': grpcWebProto,
  'connect-web JSON': grpcWebJson,
  'Connect JSON': connectJson,
  'Connect binary': connectProto,
  'Connect GET': connectJsonGet,
  'Connect binary GET': connectProtoGet,
  'grpc-web text': grpcWebText,
  'grpc-web binary': grpcWebBinary,
  'grpc-web generated': grpcWebGenerated,
  'protobuf-ts text': protobufTsText,
  'protobuf-ts binary': protobufTsBinary,
  'nice-grpc-web': nice,
};

window.runCase = (client, name, server) => cases[name](clients[client](server), server);

/** What no gRPC-Web client sends, but pages do by mistake. */
window.runMistake = (name, server) => mistakes[name](server);

const UNARY = '/tests.echo.v1.Echo/Unary';

const mistakes = {
  async wrong_content_type(server) {
    const headers = {'content-type': 'application/x-protobuf', 'x-grpc-auth-token': TOKEN};
    return facts(await fetch(server + UNARY, {method: 'POST', headers, body: '{}'}), 'application/x-protobuf');
  },
  async wrong_verb(server) {
    return facts(await fetch(server + UNARY), 'GET');
  },
  // A method of which the proto does not say that it has no side effects.
  async get_of_effects(server) {
    const query = 'connect=v1&encoding=json&message=%7B%7D';
    return facts(await fetch(`${server}${UNARY}?${query}`), 'GET');
  },
  // A frame without an origin of its own is not in GRPC_CORS_ORIGINS. Only an answer that it may not read reaches it.
  async foreign_origin(server) {
    const post = "{method: 'POST', headers: {'content-type': 'application/grpc-web'}}";
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    frame.srcdoc = `<script>
      const outcome = (promise) => promise.then((response) => response.type, (error) => error.name);
      Promise.all([outcome(fetch('${server}', {mode: 'no-cors'})), outcome(fetch('${server + UNARY}', ${post}))])
        .then(([unread, call]) => parent.postMessage({unread, call}, '*'));
    </script>`;
    const answer = new Promise((resolve) => addEventListener('message', resolve, {once: true}));
    document.body.append(frame);
    return (await answer).data;
  },
};

async function facts(response, mention) {
  return {
    http: response.status,
    status: response.headers.get('grpc-status'),
    explained: (response.headers.get('grpc-message') ?? '').includes(mention),
  };
}
