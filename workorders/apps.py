from django.apps import AppConfig


class WorkordersConfig(AppConfig):
    name = "workorders"
    verbose_name = "What is being done"
    routines = ("tokens.sql", "status.sql", "names.sql")
