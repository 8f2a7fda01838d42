"""Edits of Kubernetes manifests in a repository that change the lines they must and no other byte.

`documents` finds the objects, `render` says what would be applied and from which layer it comes,
`fields` turns a playbook's edit into operations on an object, `text` carries operations out in the
text of a file, `draft` does all of it for a whole tree. Nothing here does I/O: trees come in, bytes
go out.
"""
