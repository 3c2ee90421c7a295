import {ScmServiceClient} from './generated/scm_grpc_web_pb';
import {ListRepositoriesRequest} from './generated/scm_pb';

const client = new ScmServiceClient('http://localhost:8000');

const request = new ListRepositoriesRequest();
request.setOrganizationId(123);
request.setPageSize(10);

client.listRepositories(request, {}, (err, response) => {
  if (err) {
    console.error('Error:', err.message);
    return;
  }
  console.log('Repositories:', response.getRepositoriesList());
});
