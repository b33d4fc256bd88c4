/* SPDX-License-Identifier: Apache-2.0 */
/* Mistakes that a configuration can have, each with what must be said about it. */
#ifndef MBRIDGE_TEST_CONFIG_MISTAKES_H
#define MBRIDGE_TEST_CONFIG_MISTAKES_H

/* Where a mistake stands. Each case gets a line of its own. */
enum place {
    BRIDGE,   /* a member of bridge */
    ENDPOINT, /* a whole endpoint */
    FROM,     /* a member of a route's from */
    TO,       /* a member of a route's to */
    ROUTE,    /* a member of a route */
    WHOLE     /* a whole route */
};

struct mistake {
    enum place place;
    const char *text;
    const char *expected; /* part of the message */
};

/* Each key once in BRIDGE, as all stand in one file too. */
static const struct mistake mistakes[] = {
    {BRIDGE, "nmae = \"x\";", "unknown key \"nmae\" in bridge (did you mean \"name\"?)"},
    {BRIDGE, "log_level = \"loud\";", "log_level must be one of \"error\", \"warn\""},
    {BRIDGE, "log_format = 5;", "log_format must be one of \"logfmt\", \"json\", not the number 5"},
    {BRIDGE, "stop_timeout = 10;", "stop_timeout must be a duration"},
    {BRIDGE, "drain_idle = \"0s\";", "drain_idle must be between 1ms and 24h"},
    {BRIDGE, "drain_timeout = \"soon\";", "drain_timeout must be a duration"},
    {BRIDGE, "core_dumps = \"maybe\";", "core_dumps must be true or false"},
    {BRIDGE, "admin = { port = 1; };", "admin must be a string, not a group"},
    {BRIDGE, "name = \"with space\";", "the name of the bridge \"with space\""},
    {BRIDGE, "stop_timout = \"1s\";", "did you mean \"stop_timeout\"?"},
    {BRIDGE, "zzz = ( 1, 2 );", "unknown key \"zzz\" in bridge"},

    {ENDPOINT, "e1 = { backend = \"fake\"; };", "endpoint \"e1\" lacks \"brokers\""},
    {ENDPOINT, "e2 = { brokers = \"b\"; };", "endpoint \"e2\" lacks \"backend\""},
    {ENDPOINT, "e3 = { backend = \"fakke\"; brokers = \"b\"; };", "did you mean \"fake\"?"},
    {ENDPOINT, "e4 = { backend = \"fake\"; brokers = \"b\"; colour = \"red\"; };",
     "unknown key \"colour\" in endpoint \"e4\""},
    {ENDPOINT, "e5 = { backend = \"fake\"; broker = \"b\"; brokers = \"b\"; };",
     "unknown key \"broker\" in endpoint \"e5\" (did you mean \"brokers\"?)"},
    {ENDPOINT, "e6 = \"fake\";", "endpoint \"e6\" must be a group"},
    {ENDPOINT, "e7 = { backend = 7; };", "backend must be a string, not the number 7"},
    {ENDPOINT, "e8 = { backend = \"fake\"; brokers = ( \"a\", \"b\" ); };",
     "brokers must be a string, not a list"},
    {ENDPOINT, "e9 = { backend = \"fake\"; brokers = \"b\"; tls = { ca = 5; }; };",
     "tls.ca must be a string, not the number 5"},
    {ENDPOINT, "e10 = { backend = \"fake\"; brokers = \"b\"; tls = { cert_file = \"x\"; }; };",
     "unknown key \"tls.cert_file\" in endpoint \"e10\" (did you mean \"cert\"?)"},
    {ENDPOINT, "e11 = { backend = \"fake\"; brokers = \"b\"; tls = \"on\"; };",
     "tls must be true or false, not \"on\""},
    {ENDPOINT, "e12 = { backend = \"fake\"; brokers = \"b\"; timeout = 3.5; };",
     "timeout must be a duration such as \"250ms\", \"10s\" or \"5m\", not the number 3.5"},
    {ENDPOINT, "e13 = { backend = \"fake\"; brokers = \"b\"; properties = ( \"a=b\", \"c\" ); };",
     "properties must be a list of \"name=value\""},
    {ENDPOINT, "e14 = { backend = \"fake\"; brokers = \"b\"; properties = ( 1 ); };",
     "properties must be a list of \"name=value\""},
    {ENDPOINT, "e15 = { backend = \"fake\"; brokers = \"b\"; never = ( \"^(\" ); };",
     "never: \"^(\" is no regular expression"},
    {ENDPOINT, "e16 = { backend = \"fake\"; brokers = \"b\"; never = 5; };",
     "never must be a list of strings, not the number 5"},
    {ENDPOINT, "e17 = { backend = \"fake\"; brokers = \"refused\"; };",
     "endpoint \"e17\": these brokers are refused"},
    {ENDPOINT, "e18 = { backend = \"fake\"; brokers = \"b\"; brokers = \"c\"; };",
     "\"brokers\" was set before, in line"},
    {ENDPOINT, "e19 = { backend = \"fake\"; brokers = \"a\\x00b\"; };", "must not hold a NUL"},
    {ENDPOINT, "e20 = { backend = \"fake\"; brokers = \"a\\xffb\"; };",
     "brokers is not valid UTF-8"},
    {ENDPOINT, "e21 = { backend = \"fake\"; brokers = \"b\"; password = 5; };",
     "password must be a string"},
    {ENDPOINT, "e22 = { backend = \"fake\"; brokers = \"\"; };",
     "brokers of endpoint \"e22\" must not be empty"},
    {ENDPOINT, "f = { backend = \"fake\"; brokers = \"b\"; };", "\"f\" was set before, in line"},

    {FROM, "discover = \"10ms\";", "discover must be 0 (never) or at least"},
    {FROM, "topik = \"x\";", "unknown key \"topik\" in from of route"},
    {FROM, "start = \"yesterday\";", "start must be \"earliest\""},
    {FROM, "start = \"2026-02-30T00:00:00Z\";", "start must be \"earliest\""},
    {FROM, "prefetch = 0;", "prefetch must be between 1 and 1000, not 0"},
    {FROM, "prefetch = -1;", "prefetch must be between 1 and 1000, not -1"},
    {FROM, "prefetch = 3000000000;", "prefetch: the number 3000000000 needs the suffix L"},
    {FROM, "prefetch = 4294967297;", "the number 4294967297 needs the suffix L"},
    {FROM, "prefetch = 0xFFFFFFFF;", "the number 0xFFFFFFFF needs the suffix L"},
    {FROM, "prefetch = 3000000000L;", "prefetch must be between 1 and 1000, not 3000000000"},
    {FROM, "prefetch = 99999999999999999999L;", "the number 99999999999999999999 is too large"},
    {FROM, "prefetch = 99999999999999999999999999999999999999;", "is too large"},
    {FROM, "prefetch = 1.0;", "prefetch must be a whole number, not the number 1"},
    {FROM, "prefetch = true;", "prefetch must be a whole number, not true"},
    {FROM, "prefetch = \"1e3\";", "prefetch must be a whole number, not \"1e3\""},
    {FROM, "isolation = \"read_commited\";", "one of \"read_committed\", \"read_uncommitted\""},
    {FROM, "exclusive = 1;", "exclusive must be true or false, not the number 1"},
    {FROM, "topics = ();", "topics is an empty list"},
    {FROM, "topics = ( \"a\", 5 );", "topics must be a list of strings, not the number 5"},
    {FROM, "topics = \"^[\";", "no regular expression"},
    {FROM, "exclude = { a = 1; };", "exclude must be a list of strings, not a group"},
    {FROM, "create = true;", "unknown key \"create\" in from"},

    {TO, "partitions = -1;", "partitions must be at least 0, not -1"},
    {TO, "max_size = \"1 parsec\";", "max_size must be a number of bytes"},
    {TO, "max_size = \"2GiB\";", "max_size must be between 1KiB and 1GiB, not 2GiB"},
    {TO, "key = \"${nothing}\";", "key: "},
    {TO, "key = \"${header.a\";", "key: "},
    {TO, "key = \"${match.1}\";", "${match.1} needs a source with a regular expression"},
    {TO, "create = \"later\";", "create must be true or false"},
    {TO, "start = \"earliest\";", "unknown key \"start\" in to of route"},

    {ROUTE, "order = \"keys\";", "order must be one of \"key\", \"none\", not \"keys\""},
    {ROUTE, "lanes = 0;", "lanes must be between 1 and 64, not 0"},
    {ROUTE, "lanes = \"two\";", "lanes must be a whole number"},
    {ROUTE, "delivery = \"effectively-once\";", "neither stores the source's position"},
    {ROUTE, "delivery = \"exactly-once\";", "delivery must be one of \"at-least-once\""},
    {ROUTE, "window = { messages = 0; };", "window.messages must be between 1 and 1048576"},
    {ROUTE, "window = { bytes = \"1KiB\"; };", "window.bytes must be between 64KiB and 256MiB"},
    {ROUTE, "window = { bytes = \"1GiB\"; };", "window.bytes must be between 64KiB and 256MiB"},
    {ROUTE, "window = { mesages = 1; };", "unknown key \"window.mesages\""},
    {ROUTE, "window = 5;", "window must be a group"},
    {ROUTE, "window = { messages = { a = 1; }; };", "window.messages must be a whole number"},
    {ROUTE, "retry = { initial = \"10s\"; };", "retry.initial is longer than retry.max"},
    {ROUTE, "retry = { attempts = -1; };", "retry.attempts must be between 0 and 1000000"},
    {ROUTE, "on_reject = \"dead-letter\";", "on_reject = \"dead-letter\" needs a dead_letter"},
    {ROUTE, "on_reject = \"drop\";", "on_reject must be one of \"dead-letter\", \"stop\""},
    {ROUTE, "on_loss = \"ignore\";", "on_loss must be one of \"stop\", \"continue\""},
    {ROUTE, "fidelity = \"strikt\";", "fidelity must be one of"},
    {ROUTE, "provenance = false;", "provenance must be one of \"auto\""},
    {ROUTE, "rate = { messages = 0; };", "rate.messages must be between 1 and 10000000"},
    {ROUTE, "rate = 5;", "rate must be a group"},
    {ROUTE, "key_from = \"subjekt\";", "key_from: must be none, key, routing_key"},
    {ROUTE, "key_from = \"${headers.a}\";", "key_from: "},
    {ROUTE, "allow_cycle = true; provenance = \"never\";", "allow_cycle = true needs the path"},
    {ROUTE, "steps = \"filter\";", "steps must be a list"},
    {ROUTE, "steps = ( \"filtre\" );", "there is no step \"filtre\" (did you mean \"filter\"?)"},
    {ROUTE, "steps = ( 5 );", "a step must be a group"},
    {ROUTE, "steps = ( { step = \"filter\"; header = \"h\"; heder = \"x\"; } );",
     "unknown key \"heder\" in step \"filter\" of route"},
    {ROUTE, "dead_letter = { topic = \"dead\"; };", "lacks \"endpoint\""},
    {ROUTE, "dead_letter = { endpoint = \"f\"; };", "names no stream: it needs \"topic\""},
    {ROUTE, "dead_letter = { endpoint = \"f\"; topic = \"in\"; };",
     "writes to \"in\", which the route reads"},
    {ROUTE, "dead_letter = { endpoint = \"r\"; topic = \"x\"; };",
     "backend reader of endpoint \"r\" cannot be a sink"},
    {ROUTE, "dead_letter = ( { endpoint = \"f\"; topic = \"x\"; } );",
     "must be a group { endpoint = …; }, not a list"},

    {WHOLE,
     "{ from = { endpoint = \"f\"; topic = \"in\"; }; to = { endpoint = \"f\"; topic = "
     "\"out\"; }; }",
     "lacks \"name\""},
    {WHOLE, "{ name = \"w1\"; to = { endpoint = \"f\"; topic = \"out\"; }; }", "lacks \"from\""},
    {WHOLE, "{ name = \"w2\"; from = { endpoint = \"f\"; topic = \"in\"; }; }", "lacks \"to\""},
    {WHOLE, "{ name = \"w3\"; from = \"in\"; to = { endpoint = \"f\"; topic = \"out\"; }; }",
     "from of route \"w3\" must be a group"},
    {WHOLE, "{ name = \"w4\"; from = { endpoint = \"f\"; topic = \"in\"; }; to = (); }",
     "must have between 1 and 62 entries, not 0"},
    {WHOLE,
     "{ name = \"w5\"; from = { endpoint = \"g\"; topic = \"in\"; }; to = { endpoint = "
     "\"f\"; topic = \"out\"; }; }",
     "there is no endpoint \"g\""},
    {WHOLE,
     "{ name = \"w6\"; from = { topic = \"in\"; }; to = { endpoint = \"f\"; topic = "
     "\"out\"; }; }",
     "from of route \"w6\" lacks \"endpoint\""},
    {WHOLE,
     "{ name = \"w7\"; from = { endpoint = \"f\"; }; to = { endpoint = \"f\"; topic = "
     "\"out\"; }; }",
     "names no stream: it needs \"topic\" or \"topics\""},
    {WHOLE,
     "{ name = \"w8\"; from = { endpoint = \"f\"; topic = \"in\"; }; to = { endpoint = "
     "\"f\"; topic = \"in\"; }; }",
     "messages would go round for ever"},
    {WHOLE,
     "{ name = \"w9\"; from = { endpoint = \"f\"; topic = \"in\"; }; to = ( { endpoint = "
     "\"f\"; topic = \"o\"; }, { endpoint = \"f\"; topic = \"o\"; } ); }",
     "has the same sink twice"},
    {WHOLE,
     "{ name = \"w10\"; from = { endpoint = \"f\"; topic = \"in\"; exclusive = true; }; to = "
     "{ endpoint = \"f\"; topic = \"o\"; }; lanes = 2; }",
     "lanes = 2: the source at endpoint \"f\" gives each message to any consumer"},
    {WHOLE,
     "{ name = \"good\"; from = { endpoint = \"f\"; topic = \"in\"; }; to = { endpoint = "
     "\"f\"; topic = \"o\"; }; }",
     "there is another route \"good\""},
    {WHOLE,
     "{ name = \"a/b\"; from = { endpoint = \"f\"; topic = \"in\"; }; to = { endpoint = "
     "\"f\"; topic = \"o\"; }; }",
     "the name of a route \"a/b\""},
    {WHOLE,
     "{ name = \"w11\"; from = { endpoint = \"n\"; topic = \"pii.users\"; }; to = { endpoint = "
     "\"f\"; topic = \"o\"; }; }",
     "topic: \"pii.users\" may not be read: endpoint \"n\" has never = \"^pii\\..*\""},
    {WHOLE,
     "{ name = \"w12\"; from = { endpoint = \"n\"; topics = ( \"a\", \"^pii.*\", \"secret\" ); }; "
     "to = { endpoint = \"f\"; topic = \"o\"; }; }",
     "topics: \"secret\" may not be read"},
    {WHOLE,
     "{ name = \"w13\"; from = { endpoint = \"f\"; topic = \"\"; }; to = { endpoint = \"f\"; "
     "topic = \"o\"; }; }",
     "topic must not be empty"},
    {WHOLE,
     "{ name = \"w14\"; from = { endpoint = \"f\"; topic = \"in\"; exclusive = true; }; "
     "isolate_sinks = true; to = ( { endpoint = \"f\"; topic = \"o\"; }, { endpoint = \"f\"; "
     "topic = \"p\"; } ); }",
     "isolate_sinks: the source at endpoint \"f\" takes messages from a queue"},
    {WHOLE, "11", "a route must be a group"},
};

#endif
