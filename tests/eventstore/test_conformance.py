"""The library's own conformance cases, on each back end of ours."""

from pathlib import Path
from uuid import uuid4

import pytest
from admf.eventstore import memory, postgres, sqlite
from admf.eventstore.location import locate
from eventsourcing import popo
from eventsourcing import postgres as library_postgres
from eventsourcing import sqlite as library_sqlite
from eventsourcing.persistence import InfrastructureFactory
from eventsourcing.tests import persistence as cases
from eventsourcing.utils import Environment


class InMemory:
    @pytest.fixture(autouse=True)
    def _locate(self):
        self.env = Environment(env=locate("memory://").environment)


class InSqlite:
    @pytest.fixture(autouse=True)
    def _locate(self, tmp_path: Path):
        self.env = Environment(env=locate(tmp_path / "events.sqlite").environment)


class InPostgres:
    @pytest.fixture(autouse=True)
    def _locate(self, postgres_url: str):
        self.env = Environment(env=locate(postgres_url).environment)


class Recorders:
    def setUp(self):
        super().setUp()
        self.factory = InfrastructureFactory.construct(self.env)
        self.addCleanup(self.factory.close)

    def new_originator_id(self):
        return str(uuid4())


class Aggregate(Recorders):
    def create_recorder(self):
        return self.factory.aggregate_recorder()


class Application(Recorders):
    def create_recorder(self):
        return self.factory.application_recorder()


class Subscribing(Application):
    def test_insert_subscribe(self):
        self.optional_test_insert_subscribe()


class Process(Recorders):
    def create_recorder(self):
        return self.factory.process_recorder()


class Factory:
    def setUp(self):
        # The cases wire the library's mapper to compressors and ciphers.
        del self.env["MAPPER_TOPIC"]
        super().setUp()

    def expected_factory_class(self):
        return self.module.Factory

    def expected_aggregate_recorder_class(self):
        return self.aggregate

    def expected_application_recorder_class(self):
        return self.module.ApplicationRecorder

    def expected_tracking_recorder_class(self):
        return self.tracking

    def tracking_recorder_subclass(self):
        return self.other_tracking

    def expected_process_recorder_class(self):
        return self.module.ProcessRecorder


class OtherMemoryTracking(popo.POPOTrackingRecorder):
    pass


class OtherSqliteTracking(library_sqlite.SQLiteTrackingRecorder):
    pass


class OtherPostgresTracking(library_postgres.PostgresTrackingRecorder):
    pass


class TestMemoryAggregate(InMemory, Aggregate, cases.AggregateRecorderTestCase):
    pass


class TestMemoryApplication(InMemory, Subscribing, cases.ApplicationRecorderTestCase):
    pass


class TestMemoryNonInterleaving(InMemory, Application, cases.NonInterleavingNotificationIDsBaseCase):
    pass


class TestMemoryProcess(InMemory, Process, cases.ProcessRecorderTestCase):
    pass


class TestMemoryFactory(InMemory, Factory, cases.InfrastructureFactoryTestCase):
    module = memory
    aggregate = popo.POPOAggregateRecorder
    tracking = popo.POPOTrackingRecorder
    other_tracking = OtherMemoryTracking


class TestSqliteAggregate(InSqlite, Aggregate, cases.AggregateRecorderTestCase):
    pass


class TestSqliteApplication(InSqlite, Subscribing, cases.ApplicationRecorderTestCase):
    pass


class TestSqliteNonInterleaving(InSqlite, Application, cases.NonInterleavingNotificationIDsBaseCase):
    pass


class TestSqliteProcess(InSqlite, Process, cases.ProcessRecorderTestCase):
    pass


class TestSqliteFactory(InSqlite, Factory, cases.InfrastructureFactoryTestCase):
    module = sqlite
    aggregate = library_sqlite.SQLiteAggregateRecorder
    tracking = library_sqlite.SQLiteTrackingRecorder
    other_tracking = OtherSqliteTracking


class TestPostgresAggregate(InPostgres, Aggregate, cases.AggregateRecorderTestCase):
    pass


class TestPostgresApplication(InPostgres, Subscribing, cases.ApplicationRecorderTestCase):
    pass


class TestPostgresNonInterleaving(InPostgres, Application, cases.NonInterleavingNotificationIDsBaseCase):
    pass


class TestPostgresProcess(InPostgres, Process, cases.ProcessRecorderTestCase):
    pass


class TestPostgresFactory(InPostgres, Factory, cases.InfrastructureFactoryTestCase):
    module = postgres
    aggregate = library_postgres.PostgresAggregateRecorder
    tracking = library_postgres.PostgresTrackingRecorder
    other_tracking = OtherPostgresTracking
