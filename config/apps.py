"""The admin site, put together."""

from django.contrib.admin.apps import AdminConfig


class TollgateAdminConfig(AdminConfig):
    default_site = "unfold.sites.UnfoldAdminSite"
