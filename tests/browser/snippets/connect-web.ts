import {createClient, ConnectError} from '@connectrpc/connect';
import {createGrpcWebTransport} from '@connectrpc/connect-web';
import {ScmService} from './gen/flask_grpcweb_scm/pb/scm_pb';

const client = createClient(ScmService, createGrpcWebTransport({baseUrl: 'http://127.0.0.1:8000'}));

async function listRepositories() {
  const headers = {'x-grpc-auth-token': 'your-auth-token'};
  try {
    const response = await client.listRepositories({organizationId: 1n, pageSize: 10}, {headers});
    console.log(response.repositories.map((repository) => repository.name));
  } catch (error) {
    console.error(ConnectError.from(error).code, ConnectError.from(error).rawMessage);
  }
}

listRepositories();
