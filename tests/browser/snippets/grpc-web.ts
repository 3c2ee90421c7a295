import {create, fromBinary, toBinary} from '@bufbuild/protobuf';
import {GrpcWebClientBase, MethodDescriptor, MethodType} from 'grpc-web';
import {ListRepositoriesRequestSchema, ListRepositoriesResponseSchema} from './gen/flask_grpcweb_scm/pb/scm_pb';
import type {ListRepositoriesRequest, ListRepositoriesResponse} from './gen/flask_grpcweb_scm/pb/scm_pb';

const server = 'http://127.0.0.1:8000';
const path = '/sentry.integrations.scm.v1.ScmService/ListRepositories';
const listRepositories = new MethodDescriptor<ListRepositoriesRequest, ListRepositoriesResponse>(
  path,
  MethodType.UNARY,
  Object as never, // the classes of messages, where they are classes
  Object as never,
  (request: ListRepositoriesRequest) => toBinary(ListRepositoriesRequestSchema, request),
  (bytes: Uint8Array) => fromBinary(ListRepositoriesResponseSchema, bytes),
);

const client = new GrpcWebClientBase({format: 'text'});
const request = create(ListRepositoriesRequestSchema, {organizationId: 1n, pageSize: 10});
const metadata = {'x-grpc-auth-token': 'your-auth-token'};
client.rpcCall(server + path, request, metadata, listRepositories, (error, response) => {
  if (error) console.error(error.code, error.message);
  else console.log(response.repositories.map((repository) => repository.name));
});
