-- The whole schema. Applied at start-up under an advisory lock by every process; each statement can be repeated.
create extension if not exists vector;

-- One row an answered message. The key is the truth of "handled before".
create table if not exists messages (
    instance    text        not null,
    message_id  text        not null,
    patient     text        not null,
    text        text        not null,
    received_at timestamptz not null default now(),
    primary key (instance, message_id)
);
create index if not exists messages_by_patient on messages (patient, received_at desc);

create table if not exists patients (
    patient    text        primary key,
    name       text        not null default '',
    first_seen timestamptz not null default now()
);

-- Which hidden id (…@lid) is which patient: learnt where WhatsApp showed both at once.
create table if not exists hidden_ids (
    lid     text primary key,
    patient text not null
);
create index if not exists hidden_ids_by_patient on hidden_ids (patient);

-- Deliveries that were not understood, as they came. No jsonb: some are no JSON.
create table if not exists kept (
    id      bigint generated always as identity primary key,
    digest  bytea       not null unique,
    reason  text        not null,
    body    bytea       not null,
    kept_at timestamptz not null default now()
);

-- The outbox: written in the message's transaction, drained by the worker. A done job keeps no content.
create table if not exists jobs (
    id          bigint generated always as identity primary key,
    kind        text        not null check (kind in ('reply', 'memory')),
    state       text        not null default 'waiting' check (state in ('waiting', 'done', 'dead')),
    instance    text        not null,
    message_id  text        not null,
    patient     text        not null,
    payload     jsonb       not null,
    traceparent text        not null,  -- W3C; the worker goes on in the webhook's trace
    attempts    int         not null default 0,
    run_at      timestamptz not null default now(),
    created_at  timestamptz not null default now(),
    unique (instance, message_id, kind)
);
create index if not exists jobs_waiting on jobs (kind, run_at) where state = 'waiting';
create index if not exists jobs_by_patient on jobs (patient, created_at);
create index if not exists jobs_dead on jobs (id) where state = 'dead';

-- mem0's table, with the columns that mem0 would make, so that hydration can read it before mem0 ever ran.
-- No vector index: a patient's few memories are scanned exactly, an approximate index would lose rows to the filter.
create table if not exists memories (
    id      uuid  primary key,
    vector  vector,
    payload jsonb
);
create index if not exists memories_by_user on memories ((payload->>'user_id'), (payload->>'created_at'));
-- mem0 deduplicates nothing: one job makes one memory, also when it is done twice.
create unique index if not exists memories_by_job on memories ((payload->>'job_id'));

create table if not exists answers (
    topic    text not null,
    language text not null,
    answer   text not null,
    primary key (topic, language)
);
create table if not exists prices (
    service  text not null,
    language text not null,
    amount   text not null,
    primary key (service, language)
);
create table if not exists slots (
    starts_at timestamptz primary key,
    taken     boolean     not null default false
);
