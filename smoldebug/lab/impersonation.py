"""`kubectl --as`: one user sends a request in the name of another, if it may."""

from dataclasses import replace

from smoldebug.lab.apierror import ApiError
from smoldebug.lab.identity import service_account_of, user_of
from smoldebug.lab.rbac import Attributes, Rbac
from smoldebug.lab.requests import Request


def impersonated(request: Request, rbac: Rbac) -> Request:
    """The request as one of the user its headers name. Raises ApiError 403, and 500 for a group
    without a user, as a real server does."""
    name = request.headers.get("Impersonate-User", "")
    groups = tuple(request.headers.get_all("Impersonate-Group", []))
    if not name and not groups:
        return request
    if not name:
        raise ApiError(
            500, "InternalError", f"requested {list(groups)} without impersonating a user"
        )
    account = service_account_of(name)
    rbac.check(
        request.user,
        Attributes("impersonate", "", "serviceaccounts", *account)
        if account
        else Attributes("impersonate", "", "users", "", name),
    )
    for group in groups:
        rbac.check(request.user, Attributes("impersonate", "", "groups", "", group))
    return replace(request, user=user_of(name, groups))
