import * as jspb from 'google-protobuf'

import * as google_protobuf_timestamp_pb from 'google-protobuf/google/protobuf/timestamp_pb'; // proto import: "google/protobuf/timestamp.proto"


export class Repository extends jspb.Message {
  getId(): number;
  setId(value: number): Repository;

  getOrganizationId(): number;
  setOrganizationId(value: number): Repository;

  getName(): string;
  setName(value: string): Repository;

  getUrl(): string;
  setUrl(value: string): Repository;

  getProvider(): Provider;
  setProvider(value: Provider): Repository;

  getExternalId(): string;
  setExternalId(value: string): Repository;

  getStatus(): RepositoryStatus;
  setStatus(value: RepositoryStatus): Repository;

  getDateAdded(): google_protobuf_timestamp_pb.Timestamp | undefined;
  setDateAdded(value?: google_protobuf_timestamp_pb.Timestamp): Repository;
  hasDateAdded(): boolean;
  clearDateAdded(): Repository;

  getConfigMap(): jspb.Map<string, string>;
  clearConfigMap(): Repository;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): Repository.AsObject;
  static toObject(includeInstance: boolean, msg: Repository): Repository.AsObject;
  static serializeBinaryToWriter(message: Repository, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): Repository;
  static deserializeBinaryFromReader(message: Repository, reader: jspb.BinaryReader): Repository;
}

export namespace Repository {
  export type AsObject = {
    id: number,
    organizationId: number,
    name: string,
    url: string,
    provider: Provider,
    externalId: string,
    status: RepositoryStatus,
    dateAdded?: google_protobuf_timestamp_pb.Timestamp.AsObject,
    configMap: Array<[string, string]>,
  }
}

export class Commit extends jspb.Message {
  getId(): string;
  setId(value: string): Commit;

  getRepositoryId(): number;
  setRepositoryId(value: number): Commit;

  getKey(): string;
  setKey(value: string): Commit;

  getMessage(): string;
  setMessage(value: string): Commit;

  getAuthor(): CommitAuthor | undefined;
  setAuthor(value?: CommitAuthor): Commit;
  hasAuthor(): boolean;
  clearAuthor(): Commit;

  getDateAdded(): google_protobuf_timestamp_pb.Timestamp | undefined;
  setDateAdded(value?: google_protobuf_timestamp_pb.Timestamp): Commit;
  hasDateAdded(): boolean;
  clearDateAdded(): Commit;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): Commit.AsObject;
  static toObject(includeInstance: boolean, msg: Commit): Commit.AsObject;
  static serializeBinaryToWriter(message: Commit, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): Commit;
  static deserializeBinaryFromReader(message: Commit, reader: jspb.BinaryReader): Commit;
}

export namespace Commit {
  export type AsObject = {
    id: string,
    repositoryId: number,
    key: string,
    message: string,
    author?: CommitAuthor.AsObject,
    dateAdded?: google_protobuf_timestamp_pb.Timestamp.AsObject,
  }
}

export class CommitAuthor extends jspb.Message {
  getName(): string;
  setName(value: string): CommitAuthor;

  getEmail(): string;
  setEmail(value: string): CommitAuthor;

  getExternalId(): string;
  setExternalId(value: string): CommitAuthor;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): CommitAuthor.AsObject;
  static toObject(includeInstance: boolean, msg: CommitAuthor): CommitAuthor.AsObject;
  static serializeBinaryToWriter(message: CommitAuthor, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): CommitAuthor;
  static deserializeBinaryFromReader(message: CommitAuthor, reader: jspb.BinaryReader): CommitAuthor;
}

export namespace CommitAuthor {
  export type AsObject = {
    name: string,
    email: string,
    externalId: string,
  }
}

export class CommitContext extends jspb.Message {
  getRepositoryId(): number;
  setRepositoryId(value: number): CommitContext;

  getCommitId(): string;
  setCommitId(value: string): CommitContext;

  getFilename(): string;
  setFilename(value: string): CommitContext;

  getLineNumber(): number;
  setLineNumber(value: number): CommitContext;

  getBlameCommitId(): string;
  setBlameCommitId(value: string): CommitContext;

  getBlameAuthor(): CommitAuthor | undefined;
  setBlameAuthor(value?: CommitAuthor): CommitContext;
  hasBlameAuthor(): boolean;
  clearBlameAuthor(): CommitContext;

  getCodeSnippet(): string;
  setCodeSnippet(value: string): CommitContext;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): CommitContext.AsObject;
  static toObject(includeInstance: boolean, msg: CommitContext): CommitContext.AsObject;
  static serializeBinaryToWriter(message: CommitContext, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): CommitContext;
  static deserializeBinaryFromReader(message: CommitContext, reader: jspb.BinaryReader): CommitContext;
}

export namespace CommitContext {
  export type AsObject = {
    repositoryId: number,
    commitId: string,
    filename: string,
    lineNumber: number,
    blameCommitId: string,
    blameAuthor?: CommitAuthor.AsObject,
    codeSnippet: string,
  }
}

export class CodeMapping extends jspb.Message {
  getId(): number;
  setId(value: number): CodeMapping;

  getOrganizationId(): number;
  setOrganizationId(value: number): CodeMapping;

  getProjectId(): number;
  setProjectId(value: number): CodeMapping;

  getRepositoryId(): number;
  setRepositoryId(value: number): CodeMapping;

  getStackRoot(): string;
  setStackRoot(value: string): CodeMapping;

  getSourceRoot(): string;
  setSourceRoot(value: string): CodeMapping;

  getDefaultBranch(): string;
  setDefaultBranch(value: string): CodeMapping;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): CodeMapping.AsObject;
  static toObject(includeInstance: boolean, msg: CodeMapping): CodeMapping.AsObject;
  static serializeBinaryToWriter(message: CodeMapping, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): CodeMapping;
  static deserializeBinaryFromReader(message: CodeMapping, reader: jspb.BinaryReader): CodeMapping;
}

export namespace CodeMapping {
  export type AsObject = {
    id: number,
    organizationId: number,
    projectId: number,
    repositoryId: number,
    stackRoot: string,
    sourceRoot: string,
    defaultBranch: string,
  }
}

export class ExternalIssue extends jspb.Message {
  getId(): number;
  setId(value: number): ExternalIssue;

  getOrganizationId(): number;
  setOrganizationId(value: number): ExternalIssue;

  getIntegrationId(): number;
  setIntegrationId(value: number): ExternalIssue;

  getKey(): string;
  setKey(value: string): ExternalIssue;

  getTitle(): string;
  setTitle(value: string): ExternalIssue;

  getDescription(): string;
  setDescription(value: string): ExternalIssue;

  getWebUrl(): string;
  setWebUrl(value: string): ExternalIssue;

  getMetadataMap(): jspb.Map<string, string>;
  clearMetadataMap(): ExternalIssue;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): ExternalIssue.AsObject;
  static toObject(includeInstance: boolean, msg: ExternalIssue): ExternalIssue.AsObject;
  static serializeBinaryToWriter(message: ExternalIssue, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): ExternalIssue;
  static deserializeBinaryFromReader(message: ExternalIssue, reader: jspb.BinaryReader): ExternalIssue;
}

export namespace ExternalIssue {
  export type AsObject = {
    id: number,
    organizationId: number,
    integrationId: number,
    key: string,
    title: string,
    description: string,
    webUrl: string,
    metadataMap: Array<[string, string]>,
  }
}

export class ListRepositoriesRequest extends jspb.Message {
  getOrganizationId(): number;
  setOrganizationId(value: number): ListRepositoriesRequest;

  getProvider(): Provider;
  setProvider(value: Provider): ListRepositoriesRequest;

  getQuery(): string;
  setQuery(value: string): ListRepositoriesRequest;

  getPageSize(): number;
  setPageSize(value: number): ListRepositoriesRequest;

  getPageToken(): string;
  setPageToken(value: string): ListRepositoriesRequest;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): ListRepositoriesRequest.AsObject;
  static toObject(includeInstance: boolean, msg: ListRepositoriesRequest): ListRepositoriesRequest.AsObject;
  static serializeBinaryToWriter(message: ListRepositoriesRequest, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): ListRepositoriesRequest;
  static deserializeBinaryFromReader(message: ListRepositoriesRequest, reader: jspb.BinaryReader): ListRepositoriesRequest;
}

export namespace ListRepositoriesRequest {
  export type AsObject = {
    organizationId: number,
    provider: Provider,
    query: string,
    pageSize: number,
    pageToken: string,
  }
}

export class ListRepositoriesResponse extends jspb.Message {
  getRepositoriesList(): Array<Repository>;
  setRepositoriesList(value: Array<Repository>): ListRepositoriesResponse;
  clearRepositoriesList(): ListRepositoriesResponse;
  addRepositories(value?: Repository, index?: number): Repository;

  getNextPageToken(): string;
  setNextPageToken(value: string): ListRepositoriesResponse;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): ListRepositoriesResponse.AsObject;
  static toObject(includeInstance: boolean, msg: ListRepositoriesResponse): ListRepositoriesResponse.AsObject;
  static serializeBinaryToWriter(message: ListRepositoriesResponse, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): ListRepositoriesResponse;
  static deserializeBinaryFromReader(message: ListRepositoriesResponse, reader: jspb.BinaryReader): ListRepositoriesResponse;
}

export namespace ListRepositoriesResponse {
  export type AsObject = {
    repositoriesList: Array<Repository.AsObject>,
    nextPageToken: string,
  }
}

export class GetRepositoryRequest extends jspb.Message {
  getRepositoryId(): number;
  setRepositoryId(value: number): GetRepositoryRequest;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): GetRepositoryRequest.AsObject;
  static toObject(includeInstance: boolean, msg: GetRepositoryRequest): GetRepositoryRequest.AsObject;
  static serializeBinaryToWriter(message: GetRepositoryRequest, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): GetRepositoryRequest;
  static deserializeBinaryFromReader(message: GetRepositoryRequest, reader: jspb.BinaryReader): GetRepositoryRequest;
}

export namespace GetRepositoryRequest {
  export type AsObject = {
    repositoryId: number,
  }
}

export class GetCommitRequest extends jspb.Message {
  getRepositoryId(): number;
  setRepositoryId(value: number): GetCommitRequest;

  getCommitSha(): string;
  setCommitSha(value: string): GetCommitRequest;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): GetCommitRequest.AsObject;
  static toObject(includeInstance: boolean, msg: GetCommitRequest): GetCommitRequest.AsObject;
  static serializeBinaryToWriter(message: GetCommitRequest, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): GetCommitRequest;
  static deserializeBinaryFromReader(message: GetCommitRequest, reader: jspb.BinaryReader): GetCommitRequest;
}

export namespace GetCommitRequest {
  export type AsObject = {
    repositoryId: number,
    commitSha: string,
  }
}

export class GetCommitContextRequest extends jspb.Message {
  getRepositoryId(): number;
  setRepositoryId(value: number): GetCommitContextRequest;

  getCommitSha(): string;
  setCommitSha(value: string): GetCommitContextRequest;

  getFilepath(): string;
  setFilepath(value: string): GetCommitContextRequest;

  getLineNumber(): number;
  setLineNumber(value: number): GetCommitContextRequest;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): GetCommitContextRequest.AsObject;
  static toObject(includeInstance: boolean, msg: GetCommitContextRequest): GetCommitContextRequest.AsObject;
  static serializeBinaryToWriter(message: GetCommitContextRequest, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): GetCommitContextRequest;
  static deserializeBinaryFromReader(message: GetCommitContextRequest, reader: jspb.BinaryReader): GetCommitContextRequest;
}

export namespace GetCommitContextRequest {
  export type AsObject = {
    repositoryId: number,
    commitSha: string,
    filepath: string,
    lineNumber: number,
  }
}

export class CreateCodeMappingRequest extends jspb.Message {
  getOrganizationId(): number;
  setOrganizationId(value: number): CreateCodeMappingRequest;

  getProjectId(): number;
  setProjectId(value: number): CreateCodeMappingRequest;

  getRepositoryId(): number;
  setRepositoryId(value: number): CreateCodeMappingRequest;

  getStackRoot(): string;
  setStackRoot(value: string): CreateCodeMappingRequest;

  getSourceRoot(): string;
  setSourceRoot(value: string): CreateCodeMappingRequest;

  getDefaultBranch(): string;
  setDefaultBranch(value: string): CreateCodeMappingRequest;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): CreateCodeMappingRequest.AsObject;
  static toObject(includeInstance: boolean, msg: CreateCodeMappingRequest): CreateCodeMappingRequest.AsObject;
  static serializeBinaryToWriter(message: CreateCodeMappingRequest, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): CreateCodeMappingRequest;
  static deserializeBinaryFromReader(message: CreateCodeMappingRequest, reader: jspb.BinaryReader): CreateCodeMappingRequest;
}

export namespace CreateCodeMappingRequest {
  export type AsObject = {
    organizationId: number,
    projectId: number,
    repositoryId: number,
    stackRoot: string,
    sourceRoot: string,
    defaultBranch: string,
  }
}

export class DeriveCodeMappingsRequest extends jspb.Message {
  getOrganizationId(): number;
  setOrganizationId(value: number): DeriveCodeMappingsRequest;

  getProjectId(): number;
  setProjectId(value: number): DeriveCodeMappingsRequest;

  getStacktracePathsList(): Array<string>;
  setStacktracePathsList(value: Array<string>): DeriveCodeMappingsRequest;
  clearStacktracePathsList(): DeriveCodeMappingsRequest;
  addStacktracePaths(value: string, index?: number): DeriveCodeMappingsRequest;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): DeriveCodeMappingsRequest.AsObject;
  static toObject(includeInstance: boolean, msg: DeriveCodeMappingsRequest): DeriveCodeMappingsRequest.AsObject;
  static serializeBinaryToWriter(message: DeriveCodeMappingsRequest, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): DeriveCodeMappingsRequest;
  static deserializeBinaryFromReader(message: DeriveCodeMappingsRequest, reader: jspb.BinaryReader): DeriveCodeMappingsRequest;
}

export namespace DeriveCodeMappingsRequest {
  export type AsObject = {
    organizationId: number,
    projectId: number,
    stacktracePathsList: Array<string>,
  }
}

export class DeriveCodeMappingsResponse extends jspb.Message {
  getMappingsList(): Array<CodeMapping>;
  setMappingsList(value: Array<CodeMapping>): DeriveCodeMappingsResponse;
  clearMappingsList(): DeriveCodeMappingsResponse;
  addMappings(value?: CodeMapping, index?: number): CodeMapping;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): DeriveCodeMappingsResponse.AsObject;
  static toObject(includeInstance: boolean, msg: DeriveCodeMappingsResponse): DeriveCodeMappingsResponse.AsObject;
  static serializeBinaryToWriter(message: DeriveCodeMappingsResponse, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): DeriveCodeMappingsResponse;
  static deserializeBinaryFromReader(message: DeriveCodeMappingsResponse, reader: jspb.BinaryReader): DeriveCodeMappingsResponse;
}

export namespace DeriveCodeMappingsResponse {
  export type AsObject = {
    mappingsList: Array<CodeMapping.AsObject>,
  }
}

export class CreateExternalIssueRequest extends jspb.Message {
  getOrganizationId(): number;
  setOrganizationId(value: number): CreateExternalIssueRequest;

  getIntegrationId(): number;
  setIntegrationId(value: number): CreateExternalIssueRequest;

  getTitle(): string;
  setTitle(value: string): CreateExternalIssueRequest;

  getDescription(): string;
  setDescription(value: string): CreateExternalIssueRequest;

  getMetadataMap(): jspb.Map<string, string>;
  clearMetadataMap(): CreateExternalIssueRequest;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): CreateExternalIssueRequest.AsObject;
  static toObject(includeInstance: boolean, msg: CreateExternalIssueRequest): CreateExternalIssueRequest.AsObject;
  static serializeBinaryToWriter(message: CreateExternalIssueRequest, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): CreateExternalIssueRequest;
  static deserializeBinaryFromReader(message: CreateExternalIssueRequest, reader: jspb.BinaryReader): CreateExternalIssueRequest;
}

export namespace CreateExternalIssueRequest {
  export type AsObject = {
    organizationId: number,
    integrationId: number,
    title: string,
    description: string,
    metadataMap: Array<[string, string]>,
  }
}

export class LinkExternalIssueRequest extends jspb.Message {
  getGroupId(): number;
  setGroupId(value: number): LinkExternalIssueRequest;

  getExternalIssueId(): number;
  setExternalIssueId(value: number): LinkExternalIssueRequest;

  serializeBinary(): Uint8Array;
  toObject(includeInstance?: boolean): LinkExternalIssueRequest.AsObject;
  static toObject(includeInstance: boolean, msg: LinkExternalIssueRequest): LinkExternalIssueRequest.AsObject;
  static serializeBinaryToWriter(message: LinkExternalIssueRequest, writer: jspb.BinaryWriter): void;
  static deserializeBinary(bytes: Uint8Array): LinkExternalIssueRequest;
  static deserializeBinaryFromReader(message: LinkExternalIssueRequest, reader: jspb.BinaryReader): LinkExternalIssueRequest;
}

export namespace LinkExternalIssueRequest {
  export type AsObject = {
    groupId: number,
    externalIssueId: number,
  }
}

export enum Provider { 
  PROVIDER_UNSPECIFIED = 0,
  PROVIDER_GITHUB = 1,
  PROVIDER_GITLAB = 2,
  PROVIDER_BITBUCKET = 3,
  PROVIDER_BITBUCKET_SERVER = 4,
  PROVIDER_AZURE_DEVOPS = 5,
  PROVIDER_GITHUB_ENTERPRISE = 6,
}
export enum RepositoryStatus { 
  REPOSITORY_STATUS_UNSPECIFIED = 0,
  REPOSITORY_STATUS_ACTIVE = 1,
  REPOSITORY_STATUS_DISABLED = 2,
  REPOSITORY_STATUS_HIDDEN = 3,
}
