/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stress: the model: which range a request may have, and what must have come of it (see
 * stress_model.h). Runs in the worker that owns the request.
 */
#include "stress_model.h"

#include <stdlib.h>

/* Plans: the range and the bytes of a request, or false if there is none that the model allows. */

bool is_stream(const struct target *t)
{
    return t->kind >= PIPE;
}

static bool held(const struct worker *w, const struct request *r)
{
    for (unsigned int i = 0; i < w->flying; i++) {
        const struct request *other = w->flight[i];

        if (other->target == r->target && !other->settled && other->verb != SYNC &&
            (other->verb == WRITE || r->verb == WRITE) && other->held_from < r->held_to &&
            r->held_from < other->held_to)
            return true;
    }
    return false;
}

/* A range that nobody holds: reads may reach over the end, writes may lie beyond it. */
static bool plan_range(struct worker *w, struct request *r)
{
    struct target *t = r->target;
    size_t places = ROOM / t->align;
    off_t end = 0;

    for (int attempt = 0; attempt < 8; attempt++) {
        r->offset = (off_t) (random_below(w, places) * t->align);
        r->length = random_length(w, ROOM, t->align);
        if (r->length > ROOM - (size_t) r->offset)
            r->length = ROOM - (size_t) r->offset;
        end = r->offset + (off_t) r->length;
        r->held_from = r->offset;
        r->held_to = end;
        if (end > (off_t) t->size) {
            r->held_to = ROOM;
            if (r->verb == WRITE && r->held_from > (off_t) t->size)
                r->held_from = (off_t) t->size;
        }
        if (!held(w, r))
            break;
        if (attempt == 7)
            return false;
    }
    r->expected = r->length;
    if (r->verb == READ && end > (off_t) t->size)
        r->expected = r->offset < (off_t) t->size ? t->size - (size_t) r->offset : 0;
    return true;
}

/* Reads of an append-only file look at what is known to be there. */
static bool plan_append(struct worker *w, struct request *r)
{
    struct target *t = r->target;

    r->offset = 0;
    if (r->verb == READ) {
        if (t->size == 0)
            return false;
        r->offset = (off_t) random_below(w, t->size);
        r->length = random_length(w, t->size - (size_t) r->offset, 1);
    } else {
        size_t queued = 0;

        r->length = random_length(w, 32 * 1024, 1);
        for (unsigned int i = 0; i < w->flying; i++)
            if (w->flight[i]->target == t && w->flight[i]->verb == WRITE && !w->flight[i]->settled)
                queued += w->flight[i]->length;
        if (t->size + queued + r->length > ROOM)
            return false;
    }
    r->expected = r->length;
    return true;
}

/* A record names its worker: magic, worker, number, length, then bytes. */
static bool plan_record(struct worker *w, struct request *r)
{
    uint32_t head[4];

    if (r->verb != WRITE || w->next_record >= 20000)
        return false;
    r->record = w->next_record++;
    r->length = sizeof head + random_below(w, 2000);
    r->expected = r->length;
    r->offset = 0;
    head[0] = 0x5eed5eed;
    head[1] = w->number;
    head[2] = r->record;
    head[3] = (uint32_t) r->length;
    memcpy(r->buffer, head, sizeof head);
    bytes_fill(r->buffer + sizeof head, r->length - sizeof head,
               ((uint64_t) w->number << 32) | r->record, 0);
    return true;
}

static bool plan_stream(struct worker *w, struct request *r)
{
    struct target *t = r->target;
    struct chunk *c = &t->chunks[t->written % CHUNKS];

    r->offset = 0;
    r->length = random_length(w, LONGEST, 1) + 1;
    if (r->verb == WRITE) {
        if (t->written - t->reading >= CHUNKS || c->request)
            return false;
        *c = (struct chunk){ .name = t->salt ^ mix(t->written), .length = r->length, .request = r };
        t->written++;
        r->chunk = c;
        bytes_fill(r->buffer, r->length, c->name, 0);
    }
    return true;
}

bool plan(struct worker *w, struct request *r, struct target *t, enum verb verb)
{
    bool possible = true;

    r->target = t;
    r->verb = verb;
    r->fd = is_stream(t) && verb == WRITE ? t->out : t->fd;
    r->offset = r->held_from = r->held_to = 0;
    r->length = r->expected = 0;
    r->buffer = r->memory + (t->align == 1 ? random_below(w, 512) : 0);
    if (verb == SYNC)
        return !is_stream(t);
    if (is_stream(t))
        return plan_stream(w, r);
    if (t->kind == SHARED_APPEND)
        return plan_record(w, r);
    possible = t->kind == APPEND ? plan_append(w, r) : plan_range(w, r);
    if (possible && verb == WRITE)
        bytes_fill(r->buffer, r->length, random_word(w), 0);
    return possible;
}

/* Results. */

static void check_file_read(const struct request *r, ssize_t result)
{
    if (result != (ssize_t) r->expected)
        fail_request(r, "a read of a file gave %zd bytes, not %zu", result, r->expected);
    for (size_t i = 0; i < r->expected; i++)
        if (r->buffer[i] != r->target->image[(size_t) r->offset + i])
            fail_request(r,
                         "a read of a file gave wrong bytes from byte %zu of %zd: %02x, not %02x",
                         i, result, r->buffer[i], r->target->image[(size_t) r->offset + i]);
}

static void check_file_write(struct worker *w, struct request *r, ssize_t result)
{
    struct target *t = r->target;
    size_t at = t->kind == APPEND ? t->size : (size_t) r->offset;

    if (result != (ssize_t) r->length)
        fail_request(r, "a write to a file gave %zd, not %zu", result, r->length);
    if (t->kind == SHARED_APPEND) {
        if (w->record_count == w->record_room) {
            w->record_room = w->record_room ? 2 * w->record_room : 64;
            w->records = realloc(w->records, w->record_room * sizeof *w->records);
            if (!w->records)
                fail(w, "no memory for the model");
        }
        w->records[w->record_count++] = (struct record){ r->record, (uint32_t) r->length };
        return;
    }
    if (result == 0)
        return;
    if (at > t->size)
        memset(t->image + t->size, 0, at - t->size);
    memcpy(t->image + at, r->buffer, r->length);
    if (at + r->length > t->size)
        t->size = at + r->length;
}

/* Matches what a read took against the chunks in order; canceled ones are not there. */
static void check_stream_read(struct request *r, ssize_t result)
{
    struct target *t = r->target;
    size_t done = 0, length = (size_t) result;

    if (result < 0 || length > r->length || (length == 0 && !t->closing))
        fail_request(r, "a read of %zu bytes of a stream gave %zd", r->length, result);
    while (done < length) {
        struct chunk *c = &t->chunks[t->reading % CHUNKS];
        size_t part = length - done;

        if (t->reading == t->written)
            fail_request(r, "a stream gave %zu bytes more than were written", part);
        if (c->request && aio_error(&c->request->cb) == ECANCELED)
            c->canceled = true;
        if (c->canceled || c->seen == c->length) {
            t->reading++;
            continue;
        }
        if (part > c->length - c->seen)
            part = c->length - c->seen;
        if (!bytes_match(r->buffer + done, part, c->name, c->seen))
            fail_request(r,
                         "a stream's bytes are wrong: %zu at byte %zu, of chunk %llu from byte %zu",
                         part, done, (unsigned long long) t->reading, c->seen);
        c->seen += part;
        done += part;
    }
}

static void check_stream_write(const struct request *r, ssize_t result)
{
    struct chunk *c = r->chunk;

    if (result < 0 || (size_t) result > r->length ||
        ((size_t) result < r->length && !r->target->closing))
        fail_request(r, "a write of %zu bytes to a stream gave %zd", r->length, result);
    if (c->seen > (size_t) result)
        fail_request(r, "a write to a stream gave %zd, but %zu bytes of it were read", result,
                     c->seen);
    c->length = (size_t) result;
}

static void check_canceled(const struct request *r, ssize_t result)
{
    if (result != -1)
        fail_request(r, "a canceled request returned %zd", result);
    if (!r->cancel_asked && atomic_load(&cancels_begun[r->fd]) == r->cancels)
        fail_request(r, "a request ended with ECANCELED, but nobody canceled it");
    if (r->chunk && r->chunk->seen)
        fail_request(r, "a write to a stream was canceled after %zu bytes of it were read",
                     r->chunk->seen);
    if (r->chunk)
        r->chunk->canceled = true;
}

/* Is the error what a stream gives whose other end is being closed? */
static bool other_end_closed(const struct request *r, int error)
{
    if (!r->target || !r->target->closing)
        return false;
    return (error == EPIPE && r->verb == WRITE) ||
           (error == ECONNRESET && r->target->kind == SOCKET);
}

/* Behind what a read has reached its buffer must be as it was. */
static void check_untouched(const struct request *r, int error, ssize_t result)
{
    const struct target *t = r->target;
    size_t reached = result > 0 ? (size_t) result : 0;

    /* The kernel may fill the block at the end of a file that is read directly. */
    if (t->kind == DIRECT)
        reached = r->length;
    /* A read of a file may be canceled when the page cache has given it a first part. */
    if (error == ECANCELED && !is_stream(t))
        while (reached < r->expected &&
               r->buffer[reached] == t->image[(size_t) r->offset + reached])
            reached++;
    if (!bytes_all(r->buffer + reached, r->length - reached + GUARD, UNTOUCHED))
        fail_request(r, "a read that gave %zd changed its buffer behind byte %zu", result, reached);
}

/* Looks at the result of a request and carries what it did into the model. */
void check_result(struct worker *w, struct request *r, int error, ssize_t result)
{
    if (r->verb == READ && r->target)
        check_untouched(r, error, result);
    if (error == ECANCELED && r->wanted_error != ECANCELED) {
        check_canceled(r, result);
        w->canceled++;
    } else if (r->wanted_error) {
        if (error != r->wanted_error || result != -1)
            fail_request(r, "a request that must fail with %d gave %d, %zd", r->wanted_error, error,
                         result);
    } else if (other_end_closed(r, error)) {
        if (r->chunk)
            r->chunk->length = r->chunk->seen;
    } else if (error) {
        fail_request(r, "a request failed: %s", strerror(error));
    } else if (r->verb == SYNC) {
        if (result != 0)
            fail_request(r, "a sync returned %zd", result);
    } else if (is_stream(r->target)) {
        if (r->verb == READ)
            check_stream_read(r, result);
        else
            check_stream_write(r, result);
    } else if (r->verb == READ) {
        check_file_read(r, result);
    } else {
        check_file_write(w, r, result);
    }
    if (r->chunk)
        r->chunk->request = NULL;
}

/* Must the earlier of two requests of a worker be done if the later one is, and did not fail? */
bool must_precede(const struct request *earlier, const struct request *later)
{
    const struct target *t = later->target;

    if (!t || !earlier->target || earlier->fd != later->fd || earlier->order > later->order)
        return false;
    if (later->verb == SYNC)
        return earlier->verb != SYNC;
    if (earlier->verb != later->verb)
        return false;
    if (t->kind == APPEND || t->kind == SHARED_APPEND)
        return later->verb == WRITE;
    return is_stream(t);
}

bool stream_is_empty(const struct target *t)
{
    for (uint64_t i = t->reading; i < t->written; i++) {
        const struct chunk *c = &t->chunks[i % CHUNKS];

        if (!c->canceled && c->seen < c->length)
            return false;
    }
    return true;
}
