/* SPDX-License-Identifier: Apache-2.0 */
#include "config_mistakes.h"
#include "core/config/model.h"
#include "core/runtime/registry.h"
#include "fake_backend.h"

#include <setjmp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define TEXT_SIZE    65536
#define MUTANTS      10000

struct fixture {
    struct mb_registry *registry;
    char folder[64];
    char path[96];
};

static int set_up(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    struct mb_error err;

    assert_non_null(fixture);
    snprintf(fixture->folder, sizeof fixture->folder, "/tmp/mbridge-config-XXXXXX");
    assert_non_null(mkdtemp(fixture->folder));
    snprintf(fixture->path, sizeof fixture->path, "%s/test.conf", fixture->folder);
    assert_int_equal(mb_registry_create(&fixture->registry), MB_OK);
    assert_int_equal(mb_registry_add(fixture->registry, &fake_backend, &err), MB_OK);
    assert_int_equal(mb_registry_add(fixture->registry, &fake_reader_backend, &err), MB_OK);
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;

    unlink(fixture->path);
    rmdir(fixture->folder);
    mb_registry_destroy(fixture->registry);
    free(fixture);
    return 0;
}

static void write_bytes(const char *path, const void *data, size_t size)
{
    FILE *file;

    /* A file that is cut short and written anew, some file systems put on the disk at once. */
    (void)unlink(path);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static enum mb_status load(struct fixture *fixture, const char *text, struct mb_config **config,
                           struct mb_diagnostics *diagnostics)
{
    write_bytes(fixture->path, text, strlen(text));
    return mb_config_load(fixture->path, fixture->registry, config, diagnostics);
}

static bool reported(const struct mb_diagnostics *diagnostics, bool is_error, unsigned line,
                     const char *expected)
{
    for (size_t i = 0; i < diagnostics->count; i++) {
        const struct mb_diagnostic *item = &diagnostics->items[i];

        if (item->is_error == is_error && item->line == line &&
            strstr(item->text, expected) != NULL)
            return true;
    }
    return false;
}

static void print_all(const struct mb_diagnostics *diagnostics)
{
    for (size_t i = 0; i < diagnostics->count; i++)
        print_message(
            "  %u: %s%s\n", diagnostics->items[i].line,
            diagnostics->items[i].is_error ? "" : "warning: ", diagnostics->items[i].text);
}

/* A text that is written line by line. */
struct writer {
    char *text;
    size_t size;
    unsigned line; /* of what is added next */
};

MB_PRINTF(2, 3) static void line(struct writer *writer, const char *format, ...)
{
    va_list args;
    int size;

    va_start(args, format);
    size = vsnprintf(writer->text + writer->size, TEXT_SIZE - writer->size, format, args);
    va_end(args);
    assert_true(size >= 0 && writer->size + (size_t)size + 2 < TEXT_SIZE);
    writer->size += (size_t)size;
    memcpy(writer->text + writer->size, "\n", 2);
    writer->size++;
    writer->line++;
}

static void write_route(struct writer *writer, size_t number, const struct mistake *mistake)
{
    const char *text[6] = {"", "", "", "", "", ""};

    if (mistake->place == WHOLE) {
        line(writer, ", %s", mistake->text);
        return;
    }
    text[mistake->place] = mistake->text;
    line(writer,
         ", { name = \"r%zu\"; from = { endpoint = \"f\"; topic = \"in\"; %s }; to = { endpoint = "
         "\"f\"; topic = \"out\"; %s }; %s }",
         number, text[FROM], text[TO], text[ROUTE]);
}

/* A configuration that has the mistakes [first, last) and no others; their lines go into lines. */
static char *write_config(size_t first, size_t last, unsigned *lines)
{
    struct writer writer = {.text = calloc(1, TEXT_SIZE), .line = 1};

    assert_non_null(writer.text);
    line(&writer, "bridge = {");
    for (size_t i = first; i < last; i++) {
        if (mistakes[i].place == BRIDGE) {
            lines[i] = writer.line;
            line(&writer, "%s", mistakes[i].text);
        }
    }
    line(&writer, "}; endpoints = { f = { backend = \"fake\"; brokers = \"b\"; };");
    line(&writer, "r = { backend = \"reader\"; brokers = \"b\"; };");
    line(&writer, "n = { backend = \"fake\"; brokers = \"b\"; never = ( \"^pii\\\\..*\", "
                  "\"secret\" ); };");
    for (size_t i = first; i < last; i++) {
        if (mistakes[i].place == ENDPOINT) {
            lines[i] = writer.line;
            line(&writer, "%s", mistakes[i].text);
        }
    }
    line(&writer, "}; routes = ( { name = \"good\"; from = { endpoint = \"f\"; topic = \"in\"; }; "
                  "to = { endpoint = \"f\"; topic = \"out\"; }; }");
    for (size_t i = first; i < last; i++) {
        if (mistakes[i].place == FROM || mistakes[i].place == TO || mistakes[i].place == ROUTE ||
            mistakes[i].place == WHOLE) {
            lines[i] = writer.line;
            write_route(&writer, i, &mistakes[i]);
        }
    }
    line(&writer, ");");
    return writer.text;
}

static void each_mistake_is_found_alone(void **state)
{
    struct fixture *fixture = *state;
    unsigned lines[COUNT(mistakes)];

    assert_true(COUNT(mistakes) >= 60);
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        char *text = write_config(i, i + 1, lines);
        struct mb_diagnostics diagnostics;
        struct mb_config *config = NULL;

        assert_int_equal(load(fixture, text, &config, &diagnostics), MB_INVALID);
        assert_null(config);
        free(text);
        if (diagnostics.errors != 1 ||
            !reported(&diagnostics, true, lines[i], mistakes[i].expected)) {
            print_all(&diagnostics);
            fail_msg("\"%s\" in line %u: expected \"%s\", and nothing else", mistakes[i].text,
                     lines[i], mistakes[i].expected);
        }
        mb_diagnostics_release(&diagnostics);
    }
}

static void all_mistakes_are_found_at_once(void **state)
{
    struct fixture *fixture = *state;
    unsigned lines[COUNT(mistakes)];
    char *text = write_config(0, COUNT(mistakes), lines);
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;

    assert_int_equal(load(fixture, text, &config, &diagnostics), MB_INVALID);
    free(text);
    for (size_t i = 0; i < COUNT(mistakes); i++) {
        if (!reported(&diagnostics, true, lines[i], mistakes[i].expected)) {
            print_all(&diagnostics);
            fail_msg("\"%s\" in line %u: expected \"%s\"", mistakes[i].text, lines[i],
                     mistakes[i].expected);
        }
    }
    assert_int_equal(diagnostics.errors, COUNT(mistakes));
    for (size_t i = 1; i < diagnostics.count; i++)
        assert_true(diagnostics.items[i - 1].line <= diagnostics.items[i].line);
    mb_diagnostics_release(&diagnostics);
}

static const char good[] =
    "bridge = { name = \"shop\"; log_level = \"debug\"; stop_timeout = \"3s\"; };\n"
    "endpoints = {\n"
    "  f = { backend = \"fake\"; brokers = \"a:1,b:2\"; password = \"credential:none\";\n"
    "        tls = { ca = \"/ca.pem\"; }; properties = { a = 1; b = \"x\"; c = true; };\n"
    "        never = ( \"^pii\\\\..*\" ); identity = \"here\"; };\n"
    "  g = { backend = \"fake\"; brokers = \"c\"; tls = true; properties = ( \"a=b\" ); };\n"
    "};\n"
    "routes = (\n"
    "  { name = \"one\";\n"
    "    from = ( { endpoint = \"f\"; topic = \"in\"; start = \"latest\"; prefetch = 7; },\n"
    "             { endpoint = \"g\"; topics = ( \"x\", \"^y\" ); exclude = \"yz\"; } );\n"
    "    to = { endpoint = \"g\"; topic = \"o.${header.a:-b}\"; create = false; max_size = 4096L; "
    "};\n"
    "    dead_letter = { endpoint = \"g\"; topic = \"dead\"; };\n"
    "    window = { messages = 500; bytes = \"1MiB\"; };\n"
    "    retry = { initial = \"50ms\"; max = \"2s\"; attempts = 3; };\n"
    "    steps = ( { step = \"filter\"; header = \"h\"; } );\n"
    "    lanes = 4; fidelity = \"strict\"; provenance = \"never\"; },\n"
    "  { name = \"two\"; from = { endpoint = \"g\"; topic = \"in\"; };\n"
    "    to = ( { endpoint = \"f\"; topic = \"p\"; }, { endpoint = \"f\"; topic = \"q\"; } ); }\n"
    ");\n";

static void a_good_file_becomes_a_model(void **state)
{
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    const struct mb_config_route *route;

    if (load(*state, good, &config, &diagnostics) != MB_OK)
        print_all(&diagnostics);
    assert_non_null(config);
    assert_int_equal(diagnostics.count, 0);
    assert_string_equal(config->bridge_name, "shop");
    assert_int_equal(config->log_level, MB_LOG_DEBUG);
    assert_int_equal(config->stop_timeout_ms, 3000);
    assert_int_equal(config->drain_idle_ms, 3000);
    assert_int_equal(config->drain_timeout_ms, 0);
    assert_int_equal(config->endpoints_count, 2);
    assert_string_equal(config->endpoints[0]->identity, "here");
    assert_int_equal(config->endpoints[0]->never_count, 1);
    assert_string_equal(mb_settings_text(&config->endpoints[0]->settings, "tls"), "true");
    assert_string_equal(mb_settings_text(&config->endpoints[0]->settings, "tls.ca"), "/ca.pem");
    assert_string_equal(mb_settings_text(&config->endpoints[0]->settings, "properties"), "a=1");
    assert_int_equal(config->routes_count, 2);
    route = &config->routes[0];
    assert_int_equal(route->from_count, 2);
    assert_ptr_equal(route->from[0].endpoint, config->endpoints[0]);
    assert_string_equal(mb_settings_text(&route->from[0].settings, "prefetch"), "7");
    assert_int_equal(route->from[1].exclude_count, 2);
    assert_string_equal(route->from[1].exclude[1], "dead"); /* the dead letters, by themselves */
    assert_string_equal(mb_settings_text(&route->to[0].settings, "max_size"), "4096");
    assert_false(route->to[0].create);
    assert_true(route->dead_letter->create);
    assert_int_equal(route->on_reject, MB_REJECT_DEAD_LETTER);
    assert_int_equal(route->window_messages, 500);
    assert_int_equal(route->window_bytes, 1 << 20);
    assert_int_equal(route->retry_initial_ms, 50);
    assert_int_equal(route->retry_attempts, 3);
    assert_int_equal(route->lanes, 4);
    assert_int_equal(route->fidelity, MB_FIDELITY_STRICT);
    assert_int_equal(route->provenance, MB_PROVENANCE_NEVER);
    assert_int_equal(route->steps_count, 1);
    assert_string_equal(route->steps[0].name, "filter");
    assert_string_equal(route->group, "mbridge.shop.one");
    route = &config->routes[1];
    assert_int_equal(route->on_reject, MB_REJECT_STOP);
    assert_int_equal(route->order, MB_ORDER_KEY);
    assert_int_equal(route->lanes, 1);
    assert_int_equal(route->window_messages, 10000);
    assert_int_equal(route->window_bytes, 16 << 20);
    assert_int_equal(route->to_count, 2);
    mb_diagnostics_release(&diagnostics);
    mb_config_destroy(config);
}

static const char warned[] =
    "bridge = { admin = \"127.0.0.1:9464\"; };\n"
    "endpoints = { f = { backend = \"fake\"; brokers = \"b\";\n"
    "  tls = { unsafe_no_verify = true; }; }; };\n"
    "routes = ( { name = \"a\";\n"
    "  from = { endpoint = \"f\"; topic = \"in\"; prefetch = 999; };\n"
    "  to = { endpoint = \"f\"; topic = \"out\"; unsafe_loose = true; safe = true; };\n"
    "  on_loss = \"continue\"; } );\n";

static void dangers_are_warnings(void **state)
{
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;

    assert_int_equal(load(*state, warned, &config, &diagnostics), MB_OK);
    assert_int_equal(diagnostics.errors, 0);
    assert_true(reported(&diagnostics, false, 1, "admin: nothing listens"));
    assert_true(reported(&diagnostics, false, 3, "tls.unsafe_no_verify = true is unsafe"));
    assert_true(reported(&diagnostics, false, 5, "999 may reorder"));
    assert_true(reported(&diagnostics, false, 6, "unsafe_loose = true is unsafe"));
    assert_true(reported(&diagnostics, false, 7, "on_loss"));
    assert_int_equal(diagnostics.count, 5);
    mb_diagnostics_release(&diagnostics);
    mb_config_destroy(config);
}

static void routes_are_compared(void **state)
{
    static const char *const changes[][2] = {
        {"messages = 500", "messages = 501"}, {"brokers = \"c\"", "brokers = \"d\""},
        {"header = \"h\"", "header = \"i\""}, {"topic = \"dead\"", "topic = \"deaf\""},
        {"create = false", "create = true"},  {"\"yz\"", "\"yx\""},
    };
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    struct mb_config *other = NULL;
    char text[sizeof good + 16];

    assert_int_equal(load(*state, good, &config, &diagnostics), MB_OK);
    mb_diagnostics_release(&diagnostics);
    assert_int_equal(load(*state, good, &other, &diagnostics), MB_OK);
    mb_diagnostics_release(&diagnostics);
    assert_true(mb_config_route_equal(&config->routes[0], &other->routes[0]));
    assert_true(mb_config_route_equal(&config->routes[1], &other->routes[1]));
    assert_false(mb_config_route_equal(&config->routes[0], &other->routes[1]));
    mb_config_destroy(other);
    for (size_t i = 0; i < COUNT(changes); i++) {
        const char *at = strstr(good, changes[i][0]);

        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, changes[i][1],
                 at + strlen(changes[i][0]));
        if (load(*state, text, &other, &diagnostics) != MB_OK)
            print_all(&diagnostics);
        assert_non_null(other);
        mb_diagnostics_release(&diagnostics);
        assert_false(mb_config_route_equal(&config->routes[0], &other->routes[0]));
        mb_config_destroy(other);
    }
    mb_config_destroy(config);
}

static void syntax_errors_have_a_line(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *expected;
    } cases[] = {
        {"bridge = {\n};\nendpoints = { = };\n", 3, "syntax error"},
        {"bridge = {\n", 0, "syntax error"},
        {"\n\x01\x7f", 2, "syntax error"},
        {"\n\"routes = (\n", 2, "the string that begins here is not closed"},
        {"\n\n/* bridge = { };\n", 3, "the comment that begins here is not closed"},
        {"", 0, "there are no endpoints"},
        {"bridge = 5;", 1, "bridge must be a group"},
        {"endpoints = ( );", 1, "endpoints must be a group"},
        {"routes = { };", 1, "routes must be a list"},
        {"\nrootes = ( );", 2, "unknown key \"rootes\" in the file (did you mean \"routes\"?)"},
        {"endpoints = { };\nroutes = ( );", 2, "there are no routes"},
    };
    struct fixture *fixture = *state;

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct mb_diagnostics diagnostics;
        struct mb_config *config = NULL;
        bool found = false;

        assert_int_equal(load(fixture, cases[i].text, &config, &diagnostics), MB_INVALID);
        for (unsigned at = 0; at < 8; at++)
            found |= (at == cases[i].line || cases[i].line == 0) &&
                     reported(&diagnostics, true, at, cases[i].expected);
        if (!found) {
            print_all(&diagnostics);
            fail_msg("\"%s\": expected \"%s\"", cases[i].text, cases[i].expected);
        }
        mb_diagnostics_release(&diagnostics);
    }
}

static void unreadable_files(void **state)
{
    struct fixture *fixture = *state;
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;

    assert_int_equal(mb_config_load("/nonexistent/x", fixture->registry, &config, &diagnostics),
                     MB_INVALID);
    assert_true(reported(&diagnostics, true, 0, "No such file"));
    mb_diagnostics_release(&diagnostics);
    assert_int_equal(mb_config_load("/tmp", fixture->registry, &config, &diagnostics), MB_INVALID);
    assert_true(reported(&diagnostics, true, 0, "is a folder"));
    mb_diagnostics_release(&diagnostics);
    write_bytes(fixture->path, "bridge = { };\n\0x", 16);
    assert_int_equal(mb_config_load(fixture->path, fixture->registry, &config, &diagnostics),
                     MB_INVALID);
    assert_true(reported(&diagnostics, true, 2, "NUL byte"));
    mb_diagnostics_release(&diagnostics);
}

static void deep_nesting_is_refused(void **state)
{
    char text[512] = "x = ";
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;

    memset(text + 4, '(', 200);
    memset(text + 204, ')', 200);
    memcpy(text + 404, ";", 2);
    assert_int_equal(load(*state, text, &config, &diagnostics), MB_INVALID);
    assert_true(reported(&diagnostics, true, 1, "nested deeper than 64"));
    mb_diagnostics_release(&diagnostics);
}

/* Else libconfig would be at it for minutes. */
static void too_many_entries_are_refused(void **state)
{
    size_t capacity = 400000;
    char *text = malloc(capacity);

    assert_non_null(text);
    for (int is_list = 0; is_list < 2; is_list++) {
        struct mb_diagnostics diagnostics;
        struct mb_config *config = NULL;
        size_t size = (size_t)snprintf(text, capacity, is_list ? "x = (" : "bridge = {\n");

        for (unsigned i = 0; i < 20000; i++)
            size +=
                (size_t)snprintf(text + size, capacity - size, is_list ? "1,\n" : "n%u = 1;\n", i);
        snprintf(text + size, capacity - size, is_list ? "1);" : "};");
        assert_int_equal(load(*state, text, &config, &diagnostics), MB_INVALID);
        assert_true(
            reported(&diagnostics, true, is_list ? 10001 : 10002, "more than 10000 entries"));
        mb_diagnostics_release(&diagnostics);
    }
    free(text);
}

static void included_files_are_named(void **state)
{
    struct fixture *fixture = *state;
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    bool found_key = false;
    bool found_number = false;
    char path[128];
    static const char included[] =
        "endpoints = { f = { backend = \"fake\"; brokers = \"b\"; }; };\n"
        "bridge = {\n  nmae = \"x\";\n drain_idle = 3000000000; };\n";

    snprintf(path, sizeof path, "%s/part.conf", fixture->folder);
    write_bytes(path, included, sizeof included - 1);
    assert_int_equal(
        load(fixture, "@include \"part.conf\"\nroutes = ( );\n", &config, &diagnostics),
        MB_INVALID);
    for (size_t i = 0; i < diagnostics.count; i++) {
        const struct mb_diagnostic *item = &diagnostics.items[i];

        if (item->file == NULL || strstr(item->file, "part.conf") == NULL)
            continue;
        found_key |= item->line == 3 && strstr(item->text, "\"nmae\"") != NULL;
        found_number |= item->line == 4 && strstr(item->text, "3000000000 needs") != NULL;
    }
    assert_true(found_key);
    assert_true(found_number);
    assert_true(reported(&diagnostics, true, 2, "there are no routes"));
    mb_diagnostics_release(&diagnostics);
    unlink(path);

    assert_int_equal(
        load(fixture, "bridge = { };\n@include \"part.conf\"\n", &config, &diagnostics),
        MB_INVALID);
    assert_true(reported(&diagnostics, true, 2, "part.conf\": No such file"));
    mb_diagnostics_release(&diagnostics);
    assert_int_equal(load(fixture, "\n@include \"/etc/hostname\"\n", &config, &diagnostics),
                     MB_INVALID);
    assert_true(reported(&diagnostics, true, 2, "relative to the folder"));
    mb_diagnostics_release(&diagnostics);
}

/* libconfig would end the program, or wait for ever. */
static void what_is_no_file_is_not_included(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } wrong[] = {{"@include \"\"\n", "is a folder"},
                 {"bridge = { };\n  @include\t\"folder\"\n", "folder\": is a folder"},
                 {"@include \"pipe\"\n", "pipe\": is no file"},
                 {"x = 1y;\n@include \"folder\"\n", "is a folder"},
                 {"@include \"part.conf\"\n", "folder\": is a folder"}};
    struct fixture *fixture = *state;
    struct mb_diagnostics diagnostics;
    struct mb_config *config = NULL;
    char paths[3][128];
    static const char *const names[] = {"folder", "pipe", "part.conf"};
    /* Itself, and then what is wrong. */
    static const char nested[] = "@include \"part.conf\"\n@include \"folder\"\n";

    for (size_t i = 0; i < 3; i++)
        snprintf(paths[i], sizeof paths[i], "%s/%s", fixture->folder, names[i]);
    assert_int_equal(mkdir(paths[0], 0700), 0);
    assert_int_equal(mkfifo(paths[1], 0600), 0);
    write_bytes(paths[2], nested, sizeof nested - 1);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        unsigned line = strchr(wrong[i].text, '\n')[1] == '\0' ? 1 : 2;

        assert_int_equal(load(fixture, wrong[i].text, &config, &diagnostics), MB_INVALID);
        assert_true(reported(&diagnostics, true, line, wrong[i].error));
        mb_diagnostics_release(&diagnostics);
    }
    rmdir(paths[0]);
    unlink(paths[1]);
    unlink(paths[2]);
}

static uint32_t next_random(uint32_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 17;
    *seed ^= *seed << 5;
    return *seed;
}

/* Cuts, doubles, swaps and overwrites pieces. */
static size_t mutate(char *text, size_t size, size_t capacity, uint32_t *seed)
{
    static const char *const pieces[] = {"{",  "}",    "(",  ")",    "[",         "]",
                                         "=",  ";",    ",",  "\"",   "\\",        "\\x00",
                                         "#",  "/*",   "*/", "-1",   "1e9",       "9999999999",
                                         "0x", "true", "${", "\xff", "@include ", "\n"};
    unsigned count = 1 + next_random(seed) % 4;

    while (count-- > 0 && size > 8) {
        size_t at = next_random(seed) % size;
        size_t length = 1 + next_random(seed) % 12;
        const char *piece = pieces[next_random(seed) % COUNT(pieces)];

        length = at + length > size ? size - at : length;
        switch (next_random(seed) % 4) {
        case 0:
            memmove(text + at, text + at + length, size - at - length);
            size -= length;
            break;
        case 1:
            if (size + length >= capacity)
                break;
            memmove(text + at + length, text + at, size - at);
            size += length;
            break;
        case 2:
            text[at] = (char)next_random(seed);
            break;
        default:
            length = strlen(piece);
            if (at + length <= size)
                memcpy(text + at, piece, length);
            break;
        }
    }
    return size;
}

static void mutants_do_no_harm(void **state)
{
    struct fixture *fixture = *state;
    uint32_t seed = 20260131;
    size_t accepted = 0;

    for (unsigned i = 0; i < MUTANTS; i++) {
        char text[sizeof good + 256];
        size_t size = sizeof good - 1;
        struct mb_diagnostics diagnostics;
        struct mb_config *config = NULL;
        enum mb_status status;

        memcpy(text, good, size);
        size = mutate(text, size, sizeof text, &seed);
        write_bytes(fixture->path, text, size);
        status = mb_config_load(fixture->path, fixture->registry, &config, &diagnostics);
        if (status == MB_OK) {
            assert_non_null(config);
            assert_int_equal(diagnostics.errors, 0);
            accepted++;
        } else {
            assert_int_equal(status, MB_INVALID);
            assert_null(config);
            assert_true(diagnostics.errors > 0);
        }
        mb_diagnostics_release(&diagnostics);
        mb_config_destroy(config);
    }
    assert_true(accepted > 0 && accepted < MUTANTS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_mistake_is_found_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(all_mistakes_are_found_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_good_file_becomes_a_model, set_up, tear_down),
        cmocka_unit_test_setup_teardown(dangers_are_warnings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(routes_are_compared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(syntax_errors_have_a_line, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unreadable_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(deep_nesting_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(too_many_entries_are_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(included_files_are_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_file_is_not_included, set_up, tear_down),
        cmocka_unit_test_setup_teardown(mutants_do_no_harm, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("config", tests, NULL, NULL);
}
