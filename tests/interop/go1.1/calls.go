package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"

	gogo "github.com/gogo/protobuf/proto"

	"github.com/containerd/ttrpc"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	aMinute = 60_000 // milliseconds
	// messageLengthMax is the longest data of a frame, in bytes.
	messageLengthMax = 4 << 20
)

var cases = map[string]func(*peer) error{
	"echo":                 callEcho,
	"metadata":             callMetadata,
	"error-with-details":   callFail,
	"odd-code":             callOddCode,
	"plain-error":          callPlainError,
	"deadline-told":        callDeadlineTold,
	"deadline-passes":      callDeadlinePasses,
	"deadline-by-server":   callDeadlineByServer,
	"request-limit":        callRequestLimit,
	"reply-limit":          callReplyLimit,
	"reply-over-own-limit": callReplyOverOwnLimit,
	"empty":                callEmpty,
	"unknown":              callUnknown,
	"malformed-payload":    callMalformedPayload,
	"concurrent":           callConcurrent,
	"give-up":              callGiveUp,
}

// peer is one connection to the server under test.
type peer struct {
	*schema
	client *ttrpc.Client
	// request, if set, changes each request before it is sent.
	request func(*ttrpc.Request)
}

func (p *peer) intercept(
	ctx context.Context,
	request *ttrpc.Request,
	response *ttrpc.Response,
	_ *ttrpc.UnaryClientInfo,
	invoke ttrpc.Invoker,
) error {
	if p.request != nil {
		p.request(request)
	}
	return invoke(ctx, request, response)
}

// alive checks that the connection still works.
func (p *peer) alive() error {
	reply, err := p.echo(background, "still here?")
	if err != nil {
		return fmt.Errorf("the connection does not work any more: %w", err)
	}
	return equal("text", reply.text("text"), "still here?")
}

func (p *peer) echo(ctx context.Context, text string) (message, error) {
	reply := p.test("EchoResponse")
	err := p.client.Call(ctx, testService, "Echo", p.test("EchoRequest").set("text", text), reply)
	return reply, err
}

func (p *peer) sleep(ctx context.Context, milliseconds int64) (message, error) {
	request := p.test("SleepRequest").set("milliseconds", milliseconds)
	reply := p.test("SleepResponse")
	return reply, p.client.Call(ctx, testService, "Sleep", request, reply)
}

func (p *peer) produce(length int) (message, error) {
	request := p.test("ProduceRequest").set("length", uint32(length))
	reply := p.test("EchoRequest")
	return reply, p.client.Call(background, testService, "Produce", request, reply)
}

func equal(what string, actual, expected interface{}) error {
	if reflect.DeepEqual(actual, expected) {
		return nil
	}
	return fmt.Errorf("expected %s to be %v, got %v", what, expected, actual)
}

// first is the first error there is.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// failed checks how a call failed. An empty text stands for any.
func failed(err error, code codes.Code, text string) error {
	actual, ok := status.FromError(err)
	if !ok || actual.Code() != code {
		return fmt.Errorf("expected a status of %v, got %v", code, err)
	}
	if text == "" {
		return nil
	}
	return equal("the status message", actual.Message(), text)
}

func callEcho(p *peer) error {
	payload := []byte{0, 1, 127, 128, 255}
	request := p.test("EchoRequest").set("payload", payload).set("text", "Grüße, 世界")
	reply := p.test("EchoResponse")
	if err := p.client.Call(background, testService, "Echo", request, reply); err != nil {
		return err
	}
	if !bytes.Equal(reply.bytes("payload"), payload) {
		return fmt.Errorf("the payload is %v", reply.bytes("payload"))
	}
	return first(
		equal("text", reply.text("text"), "Grüße, 世界"),
		equal("the number of metadata", len(reply.pairs("metadata")), 0),
	)
}

func callMetadata(p *peer) error {
	md := ttrpc.MD{}
	md.Set("containerd-namespace-ttrpc", "k8s.io")
	md.Append("Tag", "b")
	md.Append("tag", "a", "", "b")
	reply, err := p.echo(ttrpc.WithMetadata(background, md), "")
	if err != nil {
		return err
	}
	// Go sends the keys in any order, but the values of one in theirs.
	received := map[string][]string{}
	for _, each := range reply.pairs("metadata") {
		received[each.key] = append(received[each.key], each.value)
	}
	return equal("metadata", received, map[string][]string(md))
}

func (p *peer) fail(asked *spb.Status) error {
	return p.client.Call(background, testService, "Fail", asked, new(raw))
}

// A known defect: this process dies of an error with details, because gogo/protobuf, with which
// ttrpc 1.1 decodes, cannot decode the google.protobuf.Any that ttrpc's own go.mod leads to.
func callFail(p *peer) error {
	err := p.fail(&spb.Status{
		Code:    int32(codes.NotFound),
		Message: "no such task",
		Details: []*anypb.Any{{TypeUrl: "a/b.C", Value: []byte{8, 3}}},
	})
	return expectDeath(err)
}

func callOddCode(p *peer) error {
	return first(failed(p.fail(&spb.Status{Code: 99, Message: "odd"}), 99, "odd"), p.alive())
}

func callPlainError(p *peer) error {
	_, err := p.sleep(background, -1)
	return first(failed(err, codes.Unknown, "cannot sleep for -1 ms"), p.alive())
}

func callDeadlineTold(p *peer) error {
	reply, err := p.sleep(background, 0)
	if err != nil {
		return err
	}
	if err := equal("the time left", reply.int("deadline_milliseconds"), int64(0)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(background, aMinute*time.Millisecond)
	defer cancel()
	if reply, err = p.sleep(ctx, 0); err != nil {
		return err
	}
	left := reply.int("deadline_milliseconds")
	if left <= aMinute/2 || left > aMinute {
		return fmt.Errorf("the server was given %d ms of %d", left, aMinute)
	}
	return nil
}

func callDeadlinePasses(p *peer) error {
	ctx, cancel := context.WithTimeout(background, 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := p.sleep(ctx, aMinute)
	// The client's own clock and the server's answer arrive at about the same time.
	if !errors.Is(err, context.DeadlineExceeded) {
		if err := failed(err, codes.DeadlineExceeded, ""); err != nil {
			return err
		}
	}
	return first(prompt(start), p.alive())
}

// Here only the server knows of the deadline, so that it has to end the call.
func callDeadlineByServer(p *peer) error {
	p.request = func(request *ttrpc.Request) { request.TimeoutNano = int64(100 * time.Millisecond) }
	start := time.Now()
	_, err := p.sleep(background, aMinute)
	p.request = nil
	return first(failed(err, codes.DeadlineExceeded, ""), prompt(start), p.alive())
}

func prompt(start time.Time) error {
	if took := time.Since(start); took > 10*time.Second {
		return fmt.Errorf("it took %v", took)
	}
	return nil
}

// ttrpc 1.1 has no limit for what it sends, so that it is for the server to refuse.
func callRequestLimit(p *peer) error {
	request := p.test("EchoRequest")
	send := func(payload int) error {
		request.set("payload", make([]byte, payload))
		reply := p.test("EchoResponse")
		if err := p.client.Call(background, testService, "Echo", request, reply); err != nil {
			return err
		}
		return equal("the length", len(reply.bytes("payload")), payload)
	}
	length := fit(func(payload int) gogo.Message {
		encoded, _ := request.set("payload", make([]byte, payload)).Marshal()
		return &ttrpc.Request{Service: testService, Method: "Echo", Payload: encoded}
	})
	return first(
		send(length),
		failed(send(length+1), codes.ResourceExhausted, tooLong),
		p.alive(),
	)
}

func callReplyLimit(p *peer) error {
	length := p.longestReply()
	reply, err := p.produce(length)
	if err != nil {
		return err
	}
	if err := equal("the length", len(reply.bytes("payload")), length); err != nil {
		return err
	}
	_, err = p.produce(length + 1)
	return first(failed(err, codes.ResourceExhausted, tooLong), p.alive())
}

// expectDeath waits for the panic of another goroutine, which ends the call a moment before it ends
// the process.
func expectDeath(err error) error {
	time.Sleep(10 * time.Second)
	return fmt.Errorf("expected to be dead, but the call ended with %v", err)
}

// The server has a higher limit here. A known defect: this process dies of it.
func callReplyOverOwnLimit(p *peer) error {
	_, err := p.produce(p.longestReply() + 1)
	return expectDeath(err)
}

var tooLong = fmt.Sprintf(
	"message length %d exceed maximum message size of %d", messageLengthMax+1, messageLengthMax,
)

// longestReply is how much may be asked of Produce.
func (p *peer) longestReply() int {
	return fit(func(payload int) gogo.Message {
		encoded, _ := p.test("EchoRequest").set("payload", make([]byte, payload)).Marshal()
		return &ttrpc.Response{Payload: encoded}
	})
}

// fit finds how long a payload may be, so that the message around it is as long as is allowed.
func fit(build func(payload int) gogo.Message) int {
	length := messageLengthMax - 100
	return length + messageLengthMax - gogo.Size(build(length))
}

func callEmpty(p *peer) error {
	nothing := new(raw)
	if err := p.client.Call(background, testService, "Nothing", new(raw), nothing); err != nil {
		return err
	}
	reply, err := p.echo(background, "")
	if err != nil {
		return err
	}
	encoded, err := reply.Marshal()
	return first(err, equal("the replies", [2]int{len(*nothing), len(encoded)}, [2]int{}))
}

func callUnknown(p *peer) error {
	call := func(service, method string) error {
		return p.client.Call(background, service, method, new(raw), new(raw))
	}
	return first(
		failed(call("no.such.Service", "Echo"), codes.Unimplemented, "service no.such.Service"),
		failed(call(testService, "Missing"), codes.Unimplemented, "method Missing"),
		failed(call(testService, "echo"), codes.Unimplemented, "method echo"),
		p.alive(),
	)
}

func callMalformedPayload(p *peer) error {
	malformed := &raw{0x0a, 0x7f} // 127 bytes are announced, none come
	err := p.client.Call(background, testService, "Echo", malformed, new(raw))
	return first(failed(err, codes.Internal, ""), p.alive())
}

func callConcurrent(p *peer) error {
	var (
		callers sync.WaitGroup
		errs    = make([]error, 1_000)
	)
	for i := range errs {
		callers.Add(1)
		go func(i int) {
			defer callers.Done()
			text := fmt.Sprint(i, strings.Repeat(".", i))
			reply, err := p.echo(background, text)
			errs[i] = first(err, equal("text", reply.text("text"), text))
		}(i)
	}
	callers.Wait()
	return first(append(errs, p.alive())...)
}

// A call that is cancelled: nothing tells the server of it.
func callGiveUp(p *peer) error {
	ctx, cancel := context.WithCancel(background)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := p.sleep(ctx, 100)
		done <- err
	}()
	// The server answers in any order, so that this one shows that the connection is at work.
	if err := p.alive(); err != nil {
		return err
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		return fmt.Errorf("expected the call to be cancelled, got %v", err)
	}
	// The answer to the cancelled call comes while this one waits.
	_, err := p.sleep(background, 200)
	return first(err, p.alive())
}
