"""Django's ORM over psycopg 3, in its default settings: a small shop's app, by 20 clients, and its tests."""

import io
import sys
import unittest

import django
from django.apps import AppConfig
from django.conf import settings as django_settings

from clients import CLIENTS, SHARED_LOCK, TURNS, URL, Alone, equal, patiently, run_threads, zone

USER, _, SERVER = URL.removeprefix("postgresql://").partition("@")
HOST, _, DATABASE = SERVER.partition("/")


class Shop(AppConfig):
    name = "__main__"
    label = "shop"


django_settings.configure(
    INSTALLED_APPS=["__main__.Shop"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "USER": USER.split(":")[0],
            "PASSWORD": USER.split(":")[1],
            "HOST": HOST.split(":")[0],
            "PORT": HOST.split(":")[1],
            "NAME": DATABASE,
            # A thread keeps its connection.
            "CONN_MAX_AGE": None,
            # Its tests use the database that is there.
            "TEST": {"NAME": DATABASE},
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()

from django.db import DataError, IntegrityError, connection, models, transaction  # noqa: E402
from django.test import TestCase, TransactionTestCase  # noqa: E402


class Customer(models.Model):
    number = models.IntegerField(unique=True)
    name = models.TextField()

    class Meta:
        app_label = "shop"


class Order(models.Model):
    customer = models.ForeignKey(Customer, on_delete=models.CASCADE, related_name="orders")
    n = models.IntegerField()
    note = models.TextField()
    placed = models.DateTimeField(auto_now_add=True)

    class Meta:
        app_label = "shop"
        constraints = [models.UniqueConstraint(fields=["customer", "n"], name="one_of_each")]


class Mine(models.Model):
    n = models.IntegerField(primary_key=True)
    who = models.TextField()

    class Meta:
        app_label = "shop"
        managed = False


class Fixed(models.Model):
    n = models.IntegerField(primary_key=True)

    class Meta:
        app_label = "shop"
        managed = False
        db_table = "fixed"


def sqlstate(error):
    return getattr(error.__cause__, "sqlstate", None)


def value(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


def execute(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def notes(customer):
    return list(customer.orders.order_by("n").values_list("note", flat=True))


class Undone(Exception):
    pass


def transactions(_, number):
    with transaction.atomic():
        Customer.objects.filter(number=number).delete()
        customer = Customer.objects.create(number=number, name=f"client {number}")
    for turn in range(TURNS):
        with transaction.atomic():
            customer.orders.create(n=turn, note=f"kept {turn}")
        try:
            with transaction.atomic():
                customer.orders.create(n=100 + turn, note="undone")
                customer.orders.create(n=turn, note="again")
        except IntegrityError as error:
            equal(sqlstate(error), "23505")
        with transaction.atomic():
            locked = Customer.objects.select_for_update().get(number=number)
            equal(notes(locked), [f"kept {n}" for n in range(turn + 1)])


def savepoints(_, number):
    with transaction.atomic():
        customer = Customer.objects.select_for_update().get(number=number)
        customer.orders.all().delete()
        for turn in range(TURNS):
            customer.orders.create(n=2 * turn, note=f"kept {turn}")
            try:
                with transaction.atomic():
                    customer.orders.create(n=2 * turn + 1, note="undone")
                    raise Undone
            except Undone:
                pass
            _order, created = Order.objects.get_or_create(customer=customer, n=2 * turn, defaults={"note": "again"})
            equal(created, False)
            undone = transaction.savepoint()
            Order.objects.filter(customer=customer).update(note="undone")
            transaction.savepoint_rollback(undone)
        equal(notes(customer), [f"kept {n}" for n in range(TURNS)])


def prepared(_, number):
    # Django has psycopg prepare nothing unless it is told to: the same texts, again and again.
    for turn in range(3 * TURNS):
        with transaction.atomic():
            customer = Customer.objects.get(number=number)
            equal(customer.orders.filter(n__lte=turn).count(), min(turn // 2 + 1, TURNS))
        equal(value("select %s::int * 1000 + n from fixed where n = %s", turn, 2), turn * 1000 + 2)
        if turn % 5 == 4:
            try:
                with transaction.atomic():
                    value("select 1 / %s::int", 0)
            except DataError as error:
                equal(sqlstate(error), "22012")


def settings(_, number):
    # Django itself sets TimeZone to UTC when it connects.
    equal(value("show TimeZone"), "UTC")
    execute(f"set app.client = 'client {number}'")
    value("select set_config('TimeZone', %s, false)", zone(number))
    execute(f"set statement_timeout = {100_001 + number}")
    for turn in range(TURNS):
        equal(value("select current_setting('app.client')"), f"client {number}")
        equal(value("show TimeZone"), zone(number))
        try:
            with transaction.atomic():
                execute("set app.client = 'undone'")
                execute("set local statement_timeout = 0")
                equal(value("show app.client"), "undone")
                raise Undone
        except Undone:
            pass
        equal(value("show statement_timeout"), f"{100_001 + number}ms")
    execute("reset all")
    execute("set TimeZone = 'UTC'")
    equal(value("select coalesce(current_setting('app.client', true), '')"), "")


def advisory_locks(_, number):
    for _turn in range(2):
        patiently(lambda: value("select pg_advisory_lock(%s)::text", SHARED_LOCK), sqlstate)
        with Alone():
            equal(value("select pg_try_advisory_lock(%s)", SHARED_LOCK), True)
            equal(value("select pg_advisory_unlock(%s)", SHARED_LOCK), True)
            if number == 0:
                other = connection.copy()
                with other.cursor() as cursor:
                    cursor.execute("select pg_try_advisory_xact_lock(%s)", [SHARED_LOCK])
                    equal(cursor.fetchone()[0], False)
                other.close()
        equal(value("select pg_advisory_unlock(%s)", SHARED_LOCK), True)


def temp_tables(_, number):
    patiently(lambda: execute("create temp table shop_mine (n int primary key, who text)"), sqlstate)
    Mine.objects.bulk_create(Mine(n=n, who=f"client {number}") for n in range(TURNS))
    for _turn in range(TURNS):
        counts = Mine.objects.values("who").annotate(count=models.Count("n"))
        equal(list(counts), [{"who": f"client {number}", "count": TURNS}])
    execute("drop table shop_mine")
    equal(value("select to_regclass('shop_mine')::text"), None)


def server_side_cursors(_, number):
    # In a transaction, and outside, where Django declares its cursors WITH HOLD.
    with transaction.atomic():
        orders = Order.objects.filter(customer__number=number).order_by("n")
        equal([order.note for order in orders.iterator(chunk_size=3)], [f"kept {n}" for n in range(TURNS)])
    everything = Fixed.objects.order_by("n")
    equal(patiently(lambda: [row.n for row in everything.iterator(chunk_size=2)], sqlstate), [1, 2, 3])


class InATransaction(TestCase):
    """Each test is a transaction of its own that is rolled back, each class another around them."""

    @classmethod
    def setUpTestData(cls):
        cls.customer = Customer.objects.create(number=1000, name="tested")

    def test_one(self):
        self.customer.orders.create(n=1, note="one")
        self.assertEqual(notes(self.customer), ["one"])

    def test_another(self):
        with self.assertRaises(IntegrityError), transaction.atomic():
            Customer.objects.create(number=1000, name="again")
        self.assertEqual(notes(self.customer), [])
        with self.assertNumQueries(2):
            self.customer.orders.bulk_create([Order(customer=self.customer, n=n, note="x") for n in range(5)])
            self.assertEqual(self.customer.orders.count(), 5)


class Flushed(TransactionTestCase):
    """Tables are truncated after each test."""

    available_apps = []

    def test_hooks_on_commit(self):
        done = []
        with transaction.atomic():
            transaction.on_commit(lambda: done.append(1))
            Customer.objects.create(number=2000, name="committed")
            self.assertEqual(done, [])
        self.assertEqual(done, [1])
        Customer.objects.filter(number=2000).delete()


def run_tests():
    suite = unittest.TestSuite(map(unittest.defaultTestLoader.loadTestsFromTestCase, (InATransaction, Flushed)))
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    for _test, text in result.errors + result.failures:
        print(text, file=sys.stderr)
    print("ok tests" if result.wasSuccessful() and result.testsRun == 3 else "failed tests", flush=True)


PHASES = [transactions, savepoints, prepared, settings, advisory_locks, temp_tables, server_side_cursors]
with connection.schema_editor() as editor:
    for model in (Order, Customer):
        editor.execute(f"drop table if exists {model._meta.db_table}")
    for model in (Customer, Order):
        editor.create_model(model)
run_tests()
run_threads(lambda _number: None, lambda _connection: None, PHASES)
