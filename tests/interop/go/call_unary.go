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

	"github.com/containerd/ttrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	spb "google.golang.org/genproto/googleapis/rpc/status"
)

const aMinute = 60_000 // milliseconds

var unaryCases = map[string]func(*peer) error{
	"echo":               callEcho,
	"greeter":            callGreeter,
	"metadata":           callMetadata,
	"plain-error":        callPlainError,
	"deadline-told":      callDeadlineTold,
	"deadline-passes":    callDeadlinePasses,
	"deadline-by-server": callDeadlineByServer,
	"deadline-negative":  callDeadlineNegative,
	"reply-limit":        callReplyLimit,
	"empty":              callEmpty,
	"unknown":            callUnknown,
	"malformed-payload":  callMalformedPayload,
	"concurrent":         callConcurrent,
	"odd-code":           callOddCode,
	"give-up":            callGiveUp,
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

func callGreeter(p *peer) error {
	request := p.message("greeter.v1.HelloRequest").set("name", "Gopher")
	reply := p.message("greeter.v1.HelloReply")
	if err := p.client.Call(background, greeterService, "SayHello", request, reply); err != nil {
		return err
	}
	return equal("message", reply.text("message"), "Hello Gopher")
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
	if !reflect.DeepEqual(received, map[string][]string(md)) {
		return fmt.Errorf("expected %v, got %v", md, received)
	}
	return nil
}

func (p *peer) fail(asked *spb.Status) error {
	return p.client.Call(background, testService, "Fail", asked, p.nothing())
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
	if err := equal("the time left", reply.int("deadline_milliseconds"), 0); err != nil {
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

func callDeadlineNegative(p *peer) error {
	p.request = func(request *ttrpc.Request) { request.TimeoutNano = -1 }
	_, err := p.sleep(background, 0)
	p.request = nil
	return first(failed(err, codes.DeadlineExceeded, ""), p.alive())
}

func prompt(start time.Time) error {
	if took := time.Since(start); took > 10*time.Second {
		return fmt.Errorf("it took %v", took)
	}
	return nil
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

var tooLong = fmt.Sprintf(
	"message length %d exceed maximum message size of %d", messageLengthMax+1, messageLengthMax,
)

// longestReply is how much may be asked of Produce.
func (p *peer) longestReply() int {
	return fit(func(payload int) encodable {
		encoded, _ := proto.Marshal(p.test("EchoRequest").set("payload", make([]byte, payload)))
		return &ttrpc.Response{Payload: encoded}
	})
}

// fit finds how long a payload may be, so that the message around it is as long as is allowed.
func fit(build func(payload int) encodable) int {
	length := messageLengthMax - 100
	return length + messageLengthMax - size(build(length))
}

func callEmpty(p *peer) error {
	nothing := p.nothing()
	if err := p.client.Call(background, testService, "Nothing", p.nothing(), nothing); err != nil {
		return err
	}
	reply, err := p.echo(background, "")
	if err != nil {
		return err
	}
	greeting := p.message("greeter.v1.HelloReply")
	name := p.message("greeter.v1.HelloRequest")
	if err := p.client.Call(background, greeterService, "SayHello", name, greeting); err != nil {
		return err
	}
	return first(
		equal("the lengths of the replies", [2]int{proto.Size(nothing), proto.Size(reply)}, [2]int{}),
		equal("message", greeting.text("message"), "Hello "),
	)
}

func callUnknown(p *peer) error {
	call := func(service, method string) error {
		return p.client.Call(background, service, method, p.nothing(), p.nothing())
	}
	return first(
		failed(call("no.such.Service", "Echo"), codes.Unimplemented, "service no.such.Service"),
		failed(call(testService, "Missing"), codes.Unimplemented, "method Missing"),
		failed(call(testService, "echo"), codes.Unimplemented, "method echo"),
		p.alive(),
	)
}

func callMalformedPayload(p *peer) error {
	malformed := p.nothing()
	malformed.SetUnknown([]byte{0x0a, 0x7f}) // 127 bytes are announced, none come
	err := p.client.Call(background, testService, "Echo", malformed, p.nothing())
	if err := failed(err, codes.Internal, ""); err != nil {
		return err
	}
	const prefix = "ttrpc: error unmarshalling payload: "
	if text := status.Convert(err).Message(); !strings.HasPrefix(text, prefix) {
		return fmt.Errorf("expected %q to start with %q", text, prefix)
	}
	return p.alive()
}

func callConcurrent(p *peer) error {
	var (
		callers sync.WaitGroup
		errs    = make([]error, 1000)
	)
	for i := range errs {
		callers.Add(1)
		go func(i int) {
			defer callers.Done()
			text := fmt.Sprint(i, strings.Repeat(".", 10*i))
			reply, err := p.echo(background, text)
			errs[i] = first(err, equal("text", reply.text("text"), text))
		}(i)
	}
	callers.Wait()
	return first(errs...)
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
