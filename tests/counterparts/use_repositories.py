"""A GitHub client that knows nothing of writ: PyGithub, at the base URL it is given."""

import sys

import github

base, what, repository = sys.argv[1:4]
client = github.Github(base_url=base, retry=None)
try:
    repo = client.get_repo(repository, lazy=True)
    match what:
        case "issues":
            for issue in repo.get_issues():
                print("issue:", issue.title)
        case "delete":
            repo.delete()
            print("deleted")
except github.GithubException as refused:
    print("refused:", refused.status, refused.data)
    sys.exit(3)
