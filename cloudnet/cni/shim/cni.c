// The file that a container runtime executes as the CNI plugin: it asks cloudnet's agent and prints the answer.
//
// A node image may have neither Python nor a C library, so this is one static program, and it decides nothing. It
//
//   1. reads CNI_* from the environment and the network configuration, up to 1 MiB, from stdin;
//   2. answers VERSION itself, which has to work when nothing else does (CNI specification 1.1.0, section 2);
//   3. sends the rest to the agent's Unix socket, with CNI_NETNS opened, as the agent may not see that mount;
//   4. prints the answer, whole or not at all, and exits with the status that came with it.
//
//        request:  length, 4 bytes, big-endian | a JSON object of this length | the configuration, as it was read
//        answer:   length, 4 bytes, big-endian | exit status, 1 byte          | output of this length
// Without an answer it prints error 11 (try again later), or 50 (not available) to STATUS: at once when nobody
// listens, after 90 seconds when the agent is silent. The runtime asks again; a DEL is never answered on a guess.
//
// It refuses to parse the configuration, which is the agent's to judge: it looks for two strings of the outermost
// object only, "cniVersion" for errors of its own and "agent_socket" for another socket than the usual one. It
// allocates nothing, logs nothing, opens no other file and changes nothing on the host.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef PATIENCE // tests have less, and a socket of their own
#define PATIENCE 90 // seconds for the whole exchange; the limits of the agent end sooner, and say more
#define AGENT_SOCKET "/run/cloudnet/cni.sock"
#endif
#define LONGEST (1024 * 1024) // bytes of configuration, and of the JSON before it
#define BLANKS " \t\r\n"

static const char *const PASSED[] = {"CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME",
                                     "CNI_ARGS",        "CNI_PATH",  "CNI_NETNS_OVERRIDE"};
static const char SUPPORTED[] = ",\"supportedVersions\":[\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n";
struct text {
    size_t length;
    char bytes[3 * LONGEST]; // what does not fit is left out; `main` looks whether something was
};
static struct text request, message, error; // message and error are never full: a NUL ends them
static char config[LONGEST + 2];   // one more to see that there is more, and a NUL to end searches
static char output[2 * LONGEST];   // with prevResult, an answer repeats what it was asked
static char version[16] = "1.0.0"; // for errors of our own, when the configuration names none
static const char *command;
static struct sockaddr_un agent = {.sun_family = AF_UNIX, .sun_path = AGENT_SOCKET};

static void put(struct text *to, const char *bytes, size_t length) {
    length = length < sizeof to->bytes - to->length ? length : sizeof to->bytes - to->length;
    memcpy(to->bytes + to->length, bytes, length);
    to->length += length;
}

static void say(struct text *to, const char *words) { put(to, words, strlen(words)); }

static void number(struct text *to, size_t value) {
    if (value > 9) number(to, value / 10);
    put(to, &"0123456789"[value % 10], 1);
}

// Length of the UTF-8 character that begins here, 0 if none does (RFC 3629, section 4). Reads nothing after a NUL.
static size_t character(const unsigned char *at) {
    size_t length = at[0] < 0x80 ? 1 : at[0] < 0xC2 ? 0 : at[0] < 0xE0 ? 2 : at[0] < 0xF0 ? 3 : at[0] < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xC0) != 0x80) return 0;
    bool overlong = (at[0] == 0xE0 && at[1] < 0xA0) || (at[0] == 0xF0 && at[1] < 0x90);
    bool beyond = (at[0] == 0xED && at[1] > 0x9F) || (at[0] == 0xF4 && at[1] > 0x8F); // surrogates; over U+10FFFF
    return overlong || beyond ? 0 : length;
}

static void quote(struct text *to, const char *words) {
    say(to, "\"");
    for (const unsigned char *at = (const unsigned char *)words; *at;) {
        size_t length = character(at);
        if (*at == '"' || *at == '\\') say(to, "\\");
        if (*at < 0x20) say(to, *at < 0x10 ? "\\u000" : "\\u001"), put(to, &"0123456789abcdef"[*at & 15], 1);
        else if (length == 0) say(to, "\\ufffd");
        else put(to, (const char *)at, length);
        at += length ? length : 1;
    }
    say(to, "\"");
}

// Print, and end with the status; with 1 if nobody takes it.
static _Noreturn void print(const char *bytes, size_t length, int status) {
    while (length > 0) {
        ssize_t done = write(STDOUT_FILENO, bytes, length);
        if (done < 0 && errno != EINTR) exit(1);
        if (done > 0) bytes += done, length -= (size_t)done;
    }
    exit(status);
}

static _Noreturn void fail(const char *code, const char *reason) {
    say(&error, "{\"cniVersion\":"), quote(&error, version), say(&error, ",\"code\":"), say(&error, code);
    say(&error, ",\"msg\":"), quote(&error, reason), say(&error, "}\n");
    print(error.bytes, error.length, 1);
}

static _Noreturn void unanswered(int problem) {
    alarm(0);
    say(&message, "no answer from cloudnet's agent at "), say(&message, agent.sun_path), say(&message, ": ");
    say(&message, strerror(problem)), say(&message, ": start the agent or read its log; the runtime may try again");
    fail(strcmp(command, "STATUS") == 0 ? "50" : "11", message.bytes);
}

static void out_of_patience(int signal) { unanswered(signal == SIGALRM ? ETIMEDOUT : EINTR); }

// Copy the string at a key of the outermost object: 1; 0 when there is no such key; -1 when its value is anything but
// a string that fits and has no escapes. What is not JSON is only stepped through.
static int find(const char *key, char *value, size_t size) {
    int depth = 0;
    for (const char *at = config; *at; at++) {
        depth += *at == '{' || *at == '[' ? 1 : *at == '}' || *at == ']' ? -1 : 0;
        if (*at != '"') continue;
        const char *word = ++at;
        while (*at && *at != '"') at += *at == '\\' && at[1] ? 2 : 1;
        if (!*at) return 0;
        const char *next = at + 1 + strspn(at + 1, BLANKS);
        size_t length = (size_t)(at - word);
        if (depth != 1 || *next != ':' || length != strlen(key) || memcmp(word, key, length) != 0) continue;
        next += 1 + strspn(next + 1, BLANKS);
        if (*next++ != '"') return -1;
        length = strcspn(next, "\"\\");
        if (next[length] != '"' || length >= size) return -1;
        return memcpy(value, next, length), value[length] = 0, 1;
    }
    return 0;
}

// Send it all, with a descriptor unless that is -1. That it failed shows in receive_all, unless an answer came first.
static void send_all(int to, const char *bytes, size_t length, int passed) {
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof(int))]; } control = {
        .header = {.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS}};
    memcpy(CMSG_DATA(&control.header), &passed, sizeof passed);
    while (length > 0) {
        struct iovec piece = {(char *)bytes, length};
        struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1};
        if (passed >= 0) message.msg_control = &control, message.msg_controllen = sizeof control;
        ssize_t done = sendmsg(to, &message, 0);
        if (done < 0 && errno != EINTR) return;
        if (done > 0) bytes += done, length -= (size_t)done, passed = -1;
    }
}

static void receive_all(int from, char *bytes, size_t length) {
    while (length > 0) {
        ssize_t done = recv(from, bytes, length, 0);
        if (done == 0 || (done < 0 && errno != EINTR)) unanswered(done == 0 ? ECONNRESET : errno);
        if (done > 0) bytes += done, length -= (size_t)done;
    }
}

int main(void) {
    size_t length = 0;
    for (ssize_t done = 1; done != 0 && length <= LONGEST; length += done > 0 ? (size_t)done : 0)
        if ((done = read(STDIN_FILENO, config + length, LONGEST + 1 - length)) < 0 && errno != EINTR) break;
    find("cniVersion", version, sizeof version);
    signal(SIGPIPE, SIG_IGN), signal(SIGALRM, out_of_patience);
    if (!(command = getenv("CNI_COMMAND"))) fail("4", "CNI_COMMAND is missing: a container runtime sets it");
    if (strcmp(command, "VERSION") == 0) {
        say(&request, "{\"cniVersion\":"), quote(&request, version), say(&request, SUPPORTED);
        print(request.bytes, request.length, 0);
    }
    if (length > LONGEST) fail("7", "the network configuration is longer than 1 MiB: make it shorter");
    if (find("agent_socket", agent.sun_path, sizeof agent.sun_path) < 0 || *agent.sun_path != '/')
        fail("7", "agent_socket: expected an absolute path of at most 107 bytes, without escapes");

    request.length = 4; // room for the length of what comes now
    say(&request, "{\"version\":1,\"command\":"), quote(&request, command), say(&request, ",\"env\":{");
    for (size_t i = 0, any = 0; i < sizeof PASSED / sizeof *PASSED; i++) {
        if (!getenv(PASSED[i])) continue;
        say(&request, any++ ? "," : ""), quote(&request, PASSED[i]), say(&request, ":");
        quote(&request, getenv(PASSED[i]));
    }
    say(&request, "},\"config_length\":"), number(&request, length), say(&request, "}");
    if (request.length > LONGEST) fail("4", "CNI_*: too much environment: the agent takes 64 KiB");
    for (int i = 0; i < 4; i++) request.bytes[i] = (char)((request.length - 4) >> (24 - 8 * i));
    put(&request, config, length);
    const char *netns = getenv("CNI_NETNS");
    int passed = netns ? open(netns, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1; // if it fails, the agent says why
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char start[5];
    alarm(PATIENCE);
    while (connect(connection, (struct sockaddr *)&agent, sizeof agent) < 0)
        if (errno != EINTR) unanswered(errno);
    send_all(connection, request.bytes, request.length, passed);
    receive_all(connection, start, sizeof start);
    length = 0;
    for (int i = 0; i < 4; i++) length = length << 8 | (unsigned char)start[i];
    if (length > sizeof output) unanswered(EMSGSIZE);
    receive_all(connection, output, length);
    alarm(0);
    print(output, length, (unsigned char)start[4]);
}
