"""Django's ORM over psycopg 3 with every request in a transaction, as ATOMIC_REQUESTS does. Says what it saw, for comparison."""

import sys

import django
from django.conf import settings

USER, _, SERVER = sys.argv[1].removeprefix("postgresql://").partition("@")
HOST, _, DATABASE = SERVER.partition("/")
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "USER": USER.split(":")[0],
            "PASSWORD": USER.split(":")[1],
            "HOST": HOST.split(":")[0],
            "PORT": HOST.split(":")[1],
            "NAME": DATABASE,
            "CONN_MAX_AGE": None,
        }
    },
)
django.setup()

from django.db import IntegrityError, models, transaction  # noqa: E402


class Item(models.Model):
    id = models.IntegerField(primary_key=True)
    v = models.TextField()
    n = models.IntegerField()

    class Meta:
        app_label = "shop"
        db_table = "items"


class Undone(Exception):
    pass


def request(turn):
    yield Item.objects.aggregate(total=models.Sum("n"))["total"]
    yield Item.objects.get(pk=turn % 5 + 1).v
    with transaction.atomic():
        yield list(Item.objects.filter(n__gt=turn).order_by("id").values_list("v", flat=True))
    if turn % 4 == 3:
        Item.objects.filter(pk=turn % 5 + 1).update(n=models.F("n") + turn)
        Item.objects.create(id=200 + turn, v=f"new {turn}", n=turn)
        yield Item.objects.aggregate(total=models.Sum("n"))["total"]
        try:
            with transaction.atomic():
                Item.objects.create(id=1, v="twice", n=0)
        except IntegrityError as error:
            yield error.__cause__.sqlstate
    if turn % 8 == 7:
        raise Undone


for turn in range(40):
    seen = []
    try:
        with transaction.atomic():
            for answer in request(turn):
                seen.append(answer)
    except Undone:
        seen.append("undone")
    print(turn, *seen)
