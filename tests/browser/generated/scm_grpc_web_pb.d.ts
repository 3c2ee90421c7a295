import * as grpcWeb from 'grpc-web';

import * as scm_pb from './scm_pb'; // proto import: "scm.proto"


export class ScmServiceClient {
  constructor (hostname: string,
               credentials?: null | { [index: string]: string; },
               options?: null | { [index: string]: any; });

  listRepositories(
    request: scm_pb.ListRepositoriesRequest,
    metadata: grpcWeb.Metadata | undefined,
    callback: (err: grpcWeb.RpcError,
               response: scm_pb.ListRepositoriesResponse) => void
  ): grpcWeb.ClientReadableStream<scm_pb.ListRepositoriesResponse>;

  getRepository(
    request: scm_pb.GetRepositoryRequest,
    metadata: grpcWeb.Metadata | undefined,
    callback: (err: grpcWeb.RpcError,
               response: scm_pb.Repository) => void
  ): grpcWeb.ClientReadableStream<scm_pb.Repository>;

  getCommit(
    request: scm_pb.GetCommitRequest,
    metadata: grpcWeb.Metadata | undefined,
    callback: (err: grpcWeb.RpcError,
               response: scm_pb.Commit) => void
  ): grpcWeb.ClientReadableStream<scm_pb.Commit>;

  getCommitContext(
    request: scm_pb.GetCommitContextRequest,
    metadata: grpcWeb.Metadata | undefined,
    callback: (err: grpcWeb.RpcError,
               response: scm_pb.CommitContext) => void
  ): grpcWeb.ClientReadableStream<scm_pb.CommitContext>;

  createCodeMapping(
    request: scm_pb.CreateCodeMappingRequest,
    metadata: grpcWeb.Metadata | undefined,
    callback: (err: grpcWeb.RpcError,
               response: scm_pb.CodeMapping) => void
  ): grpcWeb.ClientReadableStream<scm_pb.CodeMapping>;

  deriveCodeMappings(
    request: scm_pb.DeriveCodeMappingsRequest,
    metadata: grpcWeb.Metadata | undefined,
    callback: (err: grpcWeb.RpcError,
               response: scm_pb.DeriveCodeMappingsResponse) => void
  ): grpcWeb.ClientReadableStream<scm_pb.DeriveCodeMappingsResponse>;

  createExternalIssue(
    request: scm_pb.CreateExternalIssueRequest,
    metadata: grpcWeb.Metadata | undefined,
    callback: (err: grpcWeb.RpcError,
               response: scm_pb.ExternalIssue) => void
  ): grpcWeb.ClientReadableStream<scm_pb.ExternalIssue>;

  linkExternalIssue(
    request: scm_pb.LinkExternalIssueRequest,
    metadata: grpcWeb.Metadata | undefined,
    callback: (err: grpcWeb.RpcError,
               response: scm_pb.ExternalIssue) => void
  ): grpcWeb.ClientReadableStream<scm_pb.ExternalIssue>;

}

export class ScmServicePromiseClient {
  constructor (hostname: string,
               credentials?: null | { [index: string]: string; },
               options?: null | { [index: string]: any; });

  listRepositories(
    request: scm_pb.ListRepositoriesRequest,
    metadata?: grpcWeb.Metadata
  ): Promise<scm_pb.ListRepositoriesResponse>;

  getRepository(
    request: scm_pb.GetRepositoryRequest,
    metadata?: grpcWeb.Metadata
  ): Promise<scm_pb.Repository>;

  getCommit(
    request: scm_pb.GetCommitRequest,
    metadata?: grpcWeb.Metadata
  ): Promise<scm_pb.Commit>;

  getCommitContext(
    request: scm_pb.GetCommitContextRequest,
    metadata?: grpcWeb.Metadata
  ): Promise<scm_pb.CommitContext>;

  createCodeMapping(
    request: scm_pb.CreateCodeMappingRequest,
    metadata?: grpcWeb.Metadata
  ): Promise<scm_pb.CodeMapping>;

  deriveCodeMappings(
    request: scm_pb.DeriveCodeMappingsRequest,
    metadata?: grpcWeb.Metadata
  ): Promise<scm_pb.DeriveCodeMappingsResponse>;

  createExternalIssue(
    request: scm_pb.CreateExternalIssueRequest,
    metadata?: grpcWeb.Metadata
  ): Promise<scm_pb.ExternalIssue>;

  linkExternalIssue(
    request: scm_pb.LinkExternalIssueRequest,
    metadata?: grpcWeb.Metadata
  ): Promise<scm_pb.ExternalIssue>;

}

