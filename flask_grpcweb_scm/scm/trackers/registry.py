"""The trackers by provider."""

from __future__ import annotations

from collections.abc import Mapping

from flask_grpcweb_scm.scm.trackers.azure_devops import AzureDevOps
from flask_grpcweb_scm.scm.trackers.github import GitHub, GitHubEnterprise
from flask_grpcweb_scm.scm.trackers.gitlab import GitLab
from flask_grpcweb_scm.scm.trackers.jira import JiraCloud, JiraDataCenter
from flask_grpcweb_scm.scm.trackers.roundup import Roundup
from flask_grpcweb_scm.scm.trackers.tracker import Tracker

__all__ = ["TRACKERS"]

TRACKERS: Mapping[str, type[Tracker]] = {
    tracker.kind: tracker
    for tracker in (GitHub, GitHubEnterprise, GitLab, AzureDevOps, JiraCloud, JiraDataCenter, Roundup)
}
