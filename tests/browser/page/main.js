import {createConnectTransport} from '@connectrpc/connect-web';
import * as cases from './cases';
import {TOKEN} from './calls';
import {connect, connectJson, connectProto} from './clients/connect';
import {grpcWebBinary, grpcWebText} from './clients/grpc_web';
import {nice} from './clients/nice';
import {protobufTsBinary, protobufTsText} from './clients/protobuf_ts';

const clients = {
  'connect-web': connectProto,
  'connect-web JSON': connectJson,
  'grpc-web text': grpcWebText,
  'grpc-web binary': grpcWebBinary,
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
    const headers = {'content-type': 'application/json', 'x-grpc-auth-token': TOKEN};
    return facts(await fetch(server + UNARY, {method: 'POST', headers, body: '{}'}), 'application/json');
  },
  async wrong_verb(server) {
    return facts(await fetch(server + UNARY), 'GET');
  },
  // createConnectTransport, where createGrpcWebTransport is meant.
  async wrong_protocol(server) {
    const client = connect(createConnectTransport({baseUrl: server}));
    const error = await client.unary({}, {metadata: {'x-grpc-auth-token': TOKEN}}).catch((error) => error);
    return {code: error.code, message: error.message};
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
