"""GitHub, GitLab, Gitea and Forgejo behind one interface (`smoldebug.sources.repository.Forge`)."""
